"""The examples of docs/extending.md train, evaluate and predict."""

import re
from pathlib import Path

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.backbone.build import BACKBONE_REGISTRY
from d2lite.utils.registry import Registry
from tests.predicting.conftest import OPTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
SMALL = [
    *OPTIONS,
    *("SOLVER.MAX_ITER", 2),
    *("SOLVER.IMS_PER_BATCH", 2),
    *("DATALOADER.NUM_WORKERS", 0),
    *("DATASETS.TRAIN", "('shapes_train',)"),
    *("DATASETS.TEST", "('four_shapes',)"),
    *("TEST.EVALUATORS", "('CountEvaluator',)"),
    *("INPUT.AUGMENTATIONS", "['Darken(factor=0.7)', 'Default']"),
    *("REPORT.ENABLED", False),
]


@pytest.fixture(scope="module")
def names():
    """What the blocks of the page define; they register their classes for this process."""
    DatasetCatalog.register("four_shapes", lambda: DatasetCatalog.get("shapes_val")[:4])
    known = MetadataCatalog.get("shapes_val")
    MetadataCatalog.get("four_shapes").set(thing_classes=known.thing_classes, evaluator_type="coco")
    found: dict = {"__name__": "my_code"}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.M | re.S):
        exec(block, found)
    yield found
    for registry in [value for value in found.values() if isinstance(value, Registry)]:
        for name in set(registry._obj_map) & set(found):
            if registry._obj_map[name] is found[name]:
                del registry._obj_map[name]
    MetadataCatalog.remove("four_shapes")
    DatasetCatalog.remove("four_shapes")


def train(names, folder, *options):
    cfg = get_cfg()
    names["add_config"](cfg)
    cfg.merge_from_file(find_config_file("quick_start.yaml"))
    cfg.merge_from_list([*SMALL, "OUTPUT_DIR", str(folder), *options])
    trainer = names["MyTrainer"](cfg)
    trainer.resume_or_load(resume=False)
    return trainer.train()


def test_backbone_head_hook_augmentation_and_evaluator_train(names, tmp_path, capsys):
    results = train(
        names,
        tmp_path,
        *("MODEL.BACKBONE.NAME", "MyBackbone"),
        *("MODEL.RPN.IN_FEATURES", "['mine']"),
        *("MODEL.ROI_HEADS.IN_FEATURES", "['mine']"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32, 64]]"),
        *("MODEL.ROI_BOX_HEAD.NAME", "FlatBoxHead"),
    )
    assert "objects" in results["count"]
    assert "at 2" in capsys.readouterr().out
    assert "MyBackbone" in BACKBONE_REGISTRY


def test_whole_model_trains(names, tmp_path):
    results = train(names, tmp_path, "MODEL.META_ARCHITECTURE", "CentreOnly")
    assert results["count"]["objects"] == 4
    assert "CentreOnly" in META_ARCH_REGISTRY
    assert torch.load(tmp_path / "model_final.pth")["model"]["score"].shape == (1,)
