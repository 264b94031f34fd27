"""Error types: one family for the tools, builtins for code that catches those."""

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from d2lite import model_zoo
from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.catalog import ModelCatalog
from d2lite.config import CfgNode, configurable, get_cfg
from d2lite.data import (
    DatasetCatalog,
    MetadataCatalog,
    ToIterableDataset,
    build_batch_data_loader,
    get_detection_dataset_dicts,
)
from d2lite.data.detection_utils import filter_empty_instances
from d2lite.data.samplers import TrainingSampler
from d2lite.engine import TrainerBase
from d2lite.engine.hooks import PeriodicWriter
from d2lite.evaluation import DatasetEvaluator, DatasetEvaluators, print_csv_format
from d2lite.modeling import BACKBONE_REGISTRY
from d2lite.utils import comm, errors
from d2lite.utils.events import EventStorage, get_event_storage
from d2lite.utils.registry import Registry
from d2lite.visualization import Visualizer, colormap


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"UserError", "RunInterrupted"}))
def test_every_type_is_a_user_error_and_a_builtin_error(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.UserError)
    builtin = (ValueError, KeyError, OSError, RuntimeError, ImportError, TypeError)
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("name", errors.__all__)
def test_text_reads_as_it_was_written_with_its_line_breaks(name):
    """KeyError would show quotes and backslashes, OSError with two arguments a number."""
    assert str(getattr(errors, name)("first\nsecond 'x'")) == "first\nsecond 'x'"


def test_unknown_name_without_a_text_shows_nothing():
    assert str(errors.UnknownNameError()) == ""


GREY = np.full((8, 8, 3), 128, dtype=np.uint8)


class Same(DatasetEvaluator):
    def evaluate(self):
        return {"same": 1}


class Unprepared:
    @configurable
    def __init__(self, a):
        pass


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


def register_twice(name):
    registry = Registry("X")
    for _ in range(2):
        registry.register(type(name, (), {}))


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (lambda: DatasetCatalog.register("coco_2017_val", list), AssertionError),
        (lambda: DatasetCatalog.register("not_callable", 3), AssertionError),
        (lambda: DatasetCatalog.get("no_such_set"), KeyError),
        (lambda: DatasetCatalog.remove("no_such_set"), KeyError),
        (lambda: MetadataCatalog.get(""), AssertionError),
        (lambda: MetadataCatalog.get("coco_2017_val").set(thing_classes=["x"]), AssertionError),
        (lambda: MetadataCatalog.get("coco_2017_val").no_such_key, AttributeError),
        (lambda: BACKBONE_REGISTRY.get("no_such_backbone"), KeyError),
        (lambda: register_twice("int"), AssertionError),
        (get_event_storage, AssertionError),
        (lambda: EventStorage().history("no_such_scalar"), KeyError),
        (lambda: get_cfg().merge_from_list(["NO.SUCH_KEY", 1]), AssertionError),
        (lambda: get_cfg().merge_from_list(["SEED"]), AssertionError),
        (lambda: get_cfg().merge_from_list(["SEED", "text"]), ValueError),
        (lambda: get_cfg().merge_from_other_cfg(CfgNode({"NO_SUCH_KEY": 1})), KeyError),
        (lambda: get_cfg().NO_SUCH_KEY, AttributeError),
        (lambda: TrainingSampler(0), AssertionError),
        (lambda: TrainingSampler("three"), TypeError),
        (lambda: build_batch_data_loader([1], TrainingSampler(1), 0), AssertionError),
        (lambda: ToIterableDataset(Stream(), None), AssertionError),
        (lambda: get_detection_dataset_dicts([]), AssertionError),
        (lambda: ModelCatalog.get("no_such_model"), RuntimeError),
        (lambda: model_zoo.get_config_file("no_such.yaml"), RuntimeError),
        (lambda: model_zoo.get_checkpoint_url("no_such.yaml"), RuntimeError),
        (lambda: TrainerBase().register_hooks([3]), AssertionError),
        (lambda: PeriodicWriter([3]), AssertionError),
        (lambda: EventStorage().put_scalar("x", torch.zeros(2)), AssertionError),
        (lambda: print_csv_format([1]), AssertionError),
        (lambda: DatasetEvaluators([Same(), Same()]).evaluate(), AssertionError),
        (lambda: configurable(lambda self: None), AssertionError),
        (lambda: Unprepared(get_cfg()), AttributeError),
        (lambda: Unprepared(get_cfg()), TypeError),
        (lambda: Visualizer(GREY).overlay_instances(labels=["a"], boxes=[]), AssertionError),
        (lambda: colormap(maximum=3), AssertionError),
        (lambda: filter_empty_instances(None, by_box=False, by_mask=False), AssertionError),
        (lambda: comm.create_local_process_group(1), RuntimeError),
        (lambda: comm.get_local_process_group(), AssertionError),
        (lambda: DetectionCheckpointer(torch.nn.Linear(1, 1)).load("/no/such.pth"), AssertionError),
    ],
)
def test_code_of_others_catches_the_types_that_it_expects(fail, kind):
    """They are those that detectron2, fvcore and yacs raise in these places."""
    with pytest.raises(kind):
        fail()
