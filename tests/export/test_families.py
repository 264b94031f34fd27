"""Every family that docs/export.md lists, as ONNX: other sizes and batches than at the export."""

import pytest
import torch

from d2lite.data import DatasetCatalog
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.export import ExportedModel
from d2lite.export.comparison import Tolerance, compare_results
from d2lite.export.export_model import make_function
from d2lite.export.metadata import describe
from d2lite.export.proof import _subset
from d2lite.export.to_onnx import export_onnx
from d2lite.export.to_openvino import export_openvino
from d2lite.export.to_torch import export_torch
from d2lite.modeling import build_model
from d2lite.structures import Boxes, BoxMode, Instances
from tests.data.spec_files import voc
from tests.modeling.small_detectors import SMALL, fill, images_of, small_config

from .images import SIZES, as_evaluation

_SIZES = ["INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96, "MODEL.DEVICE", "cpu"]
_SEGMENTOR = [
    *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 4, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32),
    *("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["p2", "p3", "p4"]),
]


WRITERS = {
    "onnx": ("model.onnx", export_onnx),
    "openvino": ("model.xml", export_openvino),
    "torch": ("model.pt2", export_torch),
}


def exported(cfg, folder, prepare=lambda model: None, to="onnx"):
    """The model and its file; `prepare` changes the weights before."""
    if to != "torch":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime" if to == "onnx" else "openvino")
    torch.manual_seed(0)
    model = fill(build_model(cfg)).eval()
    prepare(model)
    function = make_function(cfg, model)
    name, write = WRITERS[to]
    write(function, folder / name, describe(cfg, function, to))
    return model, ExportedModel(folder / name)


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
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(set(SMALL) - {"mask"}), *_COMPONENTS])
def test_detector(name, tmp_path):
    base, options = _COMPONENTS.get(name, (name, []))
    cfg = small_config(base, *options)
    model, file = exported(cfg, tmp_path)
    for sizes in (SIZES[:1], [(200, 130)], SIZES):
        batch = images_of(sizes)
        with torch.no_grad():
            expected = model([as_evaluation(cfg, item) for item in batch])
        for ours, theirs in zip(expected, file(batch), strict=True):
            lowest = float(ours["instances"].scores[:20].min())
            difference = compare_results(ours, theirs, lowest)
            assert difference.detections > 2
            # Probabilities of random masks lie around the threshold.
            assert not difference.faults(Tolerance(mask=0.25), 128), difference


def _small_predictions(model):
    """Without a training the maps of Darknet are large."""
    for layer in model.head.convs_pred:
        layer.weight.data *= 0.1
        layer.bias.data.zero_()


def _differing_scores(model):
    """At the start all scores of YOLOX are near 0.0001; and it sees pixels of 0 to 255."""
    model.backbone.bottom_up.stem.conv.conv.weight.data /= 255
    for layer in (*model.head.cls_preds, *model.head.obj_preds):
        layer.weight.data *= 30
        layer.bias.data.zero_()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "prepare"),
    [
        ("yolox_quick_start.yaml", _differing_scores),
        ("yolov3_quick_start.yaml", _small_predictions),
        ("rtmdet_tiny.yaml", lambda model: None),
    ],
)
def test_detectors_of_projects(recipe, prepare, tmp_path):
    sections = ("CSPDARKNET", "CSPNEXT", "DARKNET")
    widths = [word for name in sections for word in (f"MODEL.{name}.WIDTH", 0.125)]
    norms = ["MODEL.CSPNEXT.NORM", "BN", "MODEL.RTMDET.NORM", "BN"]
    cfg = setup_cfg(recipe, [*_SIZES, *norms, *widths])
    model, file = exported(cfg, tmp_path, prepare)
    for sizes in (SIZES[:1], [(200, 130)], SIZES):
        batch = images_of(sizes)
        with torch.no_grad():
            expected = model([as_evaluation(cfg, item) for item in batch])
        for ours, theirs in zip(expected, file(batch), strict=True):
            lowest = float(ours["instances"].scores[:20].min())
            difference = compare_results(ours, theirs, lowest)
            assert difference.detections > 2
            assert not difference.faults(Tolerance(), 128), difference


@pytest.mark.slow
def test_keypoints(tmp_path):
    cfg = small_config("mask", "MODEL.KEYPOINT_ON", True, "MODEL.MASK_ON", False)
    model, file = exported(cfg, tmp_path)
    batch = images_of([(64, 64)] * 2)
    with torch.no_grad():
        expected = model([as_evaluation(cfg, item) for item in batch])
    for ours, theirs in zip(expected, file(batch), strict=True):
        difference = compare_results(ours, theirs, float(ours["instances"].scores[:20].min()))
        assert difference.detections > 2
        assert difference.keypoint is not None
        assert difference.keypoint < 0.1
        assert not difference.faults(Tolerance(), 128), difference


@pytest.mark.slow
def test_poses_of_cells(tmp_path):
    widths = ["MODEL.FPN.OUT_CHANNELS", 32, "MODEL.FCOS.NUM_CLASSES", 5]
    scores = ["MODEL.FCOS.PRIOR_PROB", 0.3, "TEST.DETECTIONS_PER_IMAGE", 30]
    cfg = setup_cfg("fcpose_shapes.yaml", [*_SIZES, *widths, *scores])

    def larger_boxes(model):
        model.head.bbox_pred.bias.data.fill_(1.0)
        model.head.cls_score.weight.data *= 4

    model, file = exported(cfg, tmp_path, larger_boxes)
    # No resize: what it rounds may change which of two cells of an untrained map is higher.
    batch = images_of([(64, 64)] * 2)
    with torch.no_grad():
        expected = model([as_evaluation(cfg, item) for item in batch])
    for ours, theirs in zip(expected, file(batch), strict=True):
        difference = compare_results(ours, theirs, float(ours["instances"].scores[:20].min()))
        assert difference.detections > 2
        assert difference.keypoint is not None
        assert difference.keypoint < 0.1
        assert not difference.faults(Tolerance(), 128), difference


def _dense(kind):
    """A model of projects/dense with few channels."""
    small = ["MODEL.FPN.OUT_CHANNELS", 32, "MODEL.DENSE.PRIOR_PROB", 0.2]
    few = ["MODEL.DENSE.NUM_CLASSES", 5, "TEST.DETECTIONS_PER_IMAGE", 30]
    return setup_cfg(
        "gfl_quick_start.yaml", [*_SIZES, *small, *few, "MODEL.META_ARCHITECTURE", kind]
    )


def _larger_scores(model):
    model.head.cls_score.weight.data *= 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "to"),
    [
        *((kind, "onnx") for kind in ("ATSS", "GFL", "ScaledFCOS", "VFNet")),
        # Its deformable convolutions are written as sampling and a convolution.
        ("VFNet", "openvino"),
    ],
)
def test_dense_detectors(kind, to, tmp_path):
    cfg = _dense(kind)
    model, file = exported(cfg, tmp_path, _larger_scores, to)
    for sizes in (SIZES[:1], [(200, 130)], SIZES):
        batch = images_of(sizes)
        with torch.no_grad():
            expected = model([as_evaluation(cfg, item) for item in batch])
        for ours, theirs in zip(expected, file(batch), strict=True):
            lowest = float(ours["instances"].scores[:20].min())
            difference = compare_results(ours, theirs, lowest)
            assert difference.detections > 2
            assert not difference.faults(Tolerance(), 128), difference


@pytest.mark.slow
def test_solov2(tmp_path):
    low = ["MODEL.SOLOV2.SCORE_THR", 0.0, "MODEL.SOLOV2.UPDATE_THR", 0.0]
    cfg = setup_cfg("solov2_quick_start.yaml", [*_SIZES, *low, "MODEL.SOLOV2.PRIOR_PROB", 0.3])
    model, file = exported(cfg, tmp_path)
    batch = images_of([(96, 64)])
    with torch.no_grad():
        (ours,) = model([as_evaluation(cfg, item) for item in batch])
    (theirs,) = file(batch)
    ours, theirs = ours["instances"], theirs["instances"]
    assert theirs.image_size == ours.image_size
    assert len(ours) > 5
    assert theirs.scores[:5].tolist() == pytest.approx(ours.scores[:5].tolist(), abs=1e-3)
    assert (theirs.pred_masks[:5] ^ ours.pred_masks[:5]).float().mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SemanticSegmentor", "PanopticFPN"])
def test_segmentor(name, tmp_path):
    options = [*_SEGMENTOR, "MODEL.META_ARCHITECTURE", name]
    cfg = small_config("mask", *options)
    model, file = exported(cfg, tmp_path)
    for sizes in ([(96, 128)], [(70, 50), (64, 64)]):
        batch = images_of(sizes)
        with torch.no_grad():
            expected = model([as_evaluation(cfg, item) for item in batch])
        for ours, theirs in zip(expected, file(batch), strict=True):
            assert theirs["sem_seg"].shape == ours["sem_seg"].shape
            torch.testing.assert_close(theirs["sem_seg"], ours["sem_seg"], rtol=0.02, atol=0.02)
            assert ("panoptic_seg" in theirs) == ("panoptic_seg" in ours)


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
