"""Parts that no model of tests/support has, as ONNX: other sizes and batches than at the export."""

import pytest
import torch

from d2lite.data import DatasetCatalog
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.export import ExportedModel
from d2lite.export.comparison import Tolerance
from d2lite.export.export_model import make_function
from d2lite.export.metadata import describe
from d2lite.export.proof import _subset
from d2lite.export.to_onnx import export_onnx
from d2lite.modeling import build_model
from d2lite.structures import Boxes, BoxMode, Instances
from tests.data.spec_files import voc
from tests.modeling.small_detectors import fill, images_of, small_config

from .images import SIZES, differences

_SIZES = ["INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96, "MODEL.DEVICE", "cpu"]


def exported(cfg, folder, prepare=lambda model: None):
    """The model and its file; `prepare` changes the weights before."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = fill(build_model(cfg)).eval()
    prepare(model)
    function = make_function(cfg, model)
    export_onnx(function, folder / "model.onnx", describe(cfg, function, "onnx"))
    return model, ExportedModel(folder / "model.onnx")


# Pyramids and layers that are not those of `SMALL`.
_COMPONENTS = {
    "libra": ("faster", ["MODEL.FPN.BALANCE", "non_local", "MODEL.FPN.BOTTOM_UP_PATH", True]),
    "seesaw": ("faster", ["MODEL.ROI_BOX_HEAD.CLASS_LOSS", "seesaw"]),
    "high_resolution": ("faster", ["MODEL.FPN.FUSION", "high_resolution"]),
    "nas": ("retinanet", ["MODEL.FPN.FUSION", "nas", "MODEL.FPN.NUM_STAGES", 1]),
    "bifpn": ("retinanet", ["MODEL.FPN.FUSION", "bifpn", "MODEL.FPN.NUM_STAGES", 1]),
    "global_context": (
        "faster",
        ["MODEL.RESNETS.PLUGIN", "global_context", "MODEL.RESNETS.PLUGIN_RATIO", 0.25],
    ),
    "deformable": (
        "faster",
        [
            *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.WIDTH_PER_GROUP", 32),
            *("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, True, True]),
            *("MODEL.RESNETS.DEFORM_MODULATED", True, "MODEL.RESNETS.DEFORM_NUM_GROUPS", 2),
        ],
    ),
    "non_local": ("faster", ["MODEL.RESNETS.PLUGIN", "non_local"]),
    "eca": ("faster", ["MODEL.RESNETS.PLUGIN", "eca"]),
    "cbam": ("faster", ["MODEL.RESNETS.PLUGIN", "cbam"]),
    "rfb": ("faster", ["MODEL.RESNETS.PLUGIN", "rfb"]),
    "spp": ("faster", ["MODEL.RESNETS.PLUGIN", "spp"]),
}


def check(cfg, model, file, tolerance):
    """Other sizes and batches than at the export."""
    for sizes in (SIZES[:1], [(200, 130)], SIZES):
        for difference in differences(cfg, model, file, images_of(sizes)):
            assert difference.detections > 2
            assert not difference.faults(tolerance, 128), difference


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", *_COMPONENTS])
def test_detector(name, tmp_path):
    base, options = _COMPONENTS.get(name, (name, []))
    cfg = small_config(base, *options)
    # Probabilities of random masks lie around the threshold.
    check(cfg, *exported(cfg, tmp_path), Tolerance(mask=0.25))


@pytest.mark.slow
def test_fcos_with_scaled_distances(tmp_path):
    """The other dense detectors are models of tests/support."""
    small = ["MODEL.FPN.OUT_CHANNELS", 32, "MODEL.DENSE.PRIOR_PROB", 0.2]
    few = ["MODEL.DENSE.NUM_CLASSES", 5, "TEST.DETECTIONS_PER_IMAGE", 30]
    kind = ["MODEL.META_ARCHITECTURE", "ScaledFCOS"]
    cfg = setup_cfg("gfl_quick_start.yaml", [*_SIZES, *small, *few, *kind])

    def larger_scores(model):
        model.head.cls_score.weight.data *= 4

    check(cfg, *exported(cfg, tmp_path, larger_scores), Tolerance())


def test_average_precision_is_of_the_images_of_the_proof_alone(tmp_path):
    """The evaluator of VOC counts the objects of all images of a split."""
    voc(tmp_path / "set", test={"a": ["cat", "owl"], "b": ["cat"], "c": ["owl"]})
    name = f"voc:{tmp_path / 'set'}@test"
    records = DatasetCatalog.get(name)[:1]
    with _subset(name, records) as subset:
        assert len(DatasetCatalog.get(subset)) == 1
        evaluator = DefaultTrainer.build_evaluator(small_config("faster"), subset, str(tmp_path))
        evaluator.reset()
        found = Instances((10, 20))
        boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], 0) for o in records[0]["annotations"]]
        found.pred_boxes = Boxes(torch.tensor(boxes))
        found.scores = torch.ones(len(boxes))
        found.pred_classes = torch.tensor([o["category_id"] for o in records[0]["annotations"]])
        evaluator.process(records, [{"instances": found}])
        assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
