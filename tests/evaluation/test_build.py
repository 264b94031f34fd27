import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.images.image_io import read_image
from d2lite.evaluation import (
    EVALUATOR_REGISTRY,
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    EvaluatorOptions,
    SemSegEvaluator,
    build_evaluator,
    inference_on_dataset,
)
from d2lite.evaluation.gathering import gather_parts
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ConfigError

from .conftest import instances_of


def test_type_of_the_dataset_picks_the_evaluator(dataset):
    assert isinstance(build_evaluator(dataset, tasks=("bbox",)), COCOEvaluator)


def test_built_in_shapes_need_no_setting():
    assert isinstance(build_evaluator("shapes_val"), COCOEvaluator)


def test_separated_panoptic_data_have_three_evaluators(tmp_path):
    evaluator = build_evaluator("shapes_val_panoptic", output_dir=tmp_path)
    assert isinstance(evaluator, DatasetEvaluators)
    kinds = [type(part) for part in evaluator._evaluators]
    assert kinds == [SemSegEvaluator, COCOEvaluator, COCOPanopticEvaluator]


def test_unknown_type_names_what_there_is(dataset):
    MetadataCatalog.get("odd").evaluator_type = "odd_type"
    try:
        with pytest.raises(
            ConfigError, match=r"'odd_type'; those that can be built .*coco, .*lvis"
        ):
            build_evaluator("odd")
    finally:
        MetadataCatalog.remove("odd")


def test_an_oracle_scores_100_on_shapes_in_every_task():
    """The truth of the three evaluators has addresses of pictures that are drawn, not files."""
    records = DatasetCatalog.get("shapes_val_panoptic")
    evaluator = build_evaluator("shapes_val_panoptic", distributed=False)
    for record in records:
        ids = torch.as_tensor(rgb_to_segment_ids(read_image(record["pan_seg_file_name"])))
        classes = torch.as_tensor(read_image(record["sem_seg_file_name"])).long()
        objects = record["annotations"]
        instances = Instances(tuple(ids.shape))
        instances.pred_boxes = Boxes(torch.tensor([obj["bbox"] for obj in objects]))
        instances.pred_classes = torch.tensor([obj["category_id"] for obj in objects])
        instances.scores = torch.ones(len(objects))
        output = {
            "sem_seg": torch.nn.functional.one_hot(classes, 2).permute(2, 0, 1).float(),
            "instances": instances,
            "panoptic_seg": (ids, [dict(s) for s in record["segments_info"]]),
        }
        evaluator.process([record], [output])
    results = evaluator.evaluate()
    assert set(results) == {"sem_seg", "bbox", "panoptic_seg"}
    assert results["sem_seg"]["mIoU"] == 100
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["panoptic_seg"]["PQ"] == 100


@pytest.fixture
def registry(monkeypatch):
    """The registry, without what a test adds."""
    monkeypatch.setattr(EVALUATOR_REGISTRY, "_obj_map", dict(EVALUATOR_REGISTRY._obj_map))
    yield EVALUATOR_REGISTRY
    MetadataCatalog.remove("mine")


def test_an_evaluator_of_ones_own_is_a_class_and_a_decorator(registry):
    """The example of docs/extending.md."""

    @registry.register()
    class CountEvaluator(DatasetEvaluator):
        def __init__(self, options):
            self._distributed = options.distributed

        def reset(self):
            self._count = 0

        def process(self, inputs, outputs):
            self._count += sum(len(output["instances"]) for output in outputs)

        def evaluate(self):
            counts = gather_parts(self._count, distributed=self._distributed)
            return {} if counts is None else {"count": {"objects": sum(counts)}}

    MetadataCatalog.get("mine").set(evaluator_type="CountEvaluator")
    evaluator = build_evaluator("mine")
    outputs = [[{"instances": instances_of([((1, 1, 9, 9), 0)] * count)}] for count in (2, 3)]
    assert inference_on_dataset(lambda x: x, outputs, evaluator) == {"count": {"objects": 5}}


def test_options_reach_the_evaluator(registry, tmp_path):
    asked = {
        "tasks": ("bbox",),
        "output_dir": tmp_path,
        "max_dets_per_image": 7,
        "kpt_oks_sigmas": (0.1,),
        "distributed": False,
    }
    seen = []

    @registry.register()
    def my_type(options):
        seen.append(options)
        return DatasetEvaluator()

    MetadataCatalog.get("mine").set(evaluator_type="my_type")
    build_evaluator("mine", **asked)
    assert seen == [EvaluatorOptions("mine", **asked)]


def test_boxes_of_a_set_that_names_no_evaluator_are_evaluated_as_those_of_coco():
    record = {"file_name": "a.jpg", "image_id": 1, "height": 9, "width": 9, "annotations": []}
    DatasetCatalog.register("own", lambda: [record])
    DatasetCatalog.register("own_images", lambda: [])
    MetadataCatalog.get("own").thing_classes = ["ant"]
    try:
        assert isinstance(build_evaluator("own"), COCOEvaluator)
        with pytest.raises(NotImplementedError, match="'own_images' has the evaluator_type None"):
            build_evaluator("own_images")
    finally:
        for name in ("own", "own_images"):
            DatasetCatalog.remove(name)
        MetadataCatalog.remove("own")
