"""The fixed-size form of models of projects gives their results; tests/support tries files."""

import pytest
import torch

from d2lite.data import Metadata
from d2lite.export import ExportedModel, Session
from d2lite.export.comparison import Difference, Tolerance, compare_results
from d2lite.export.export_model import make_function
from d2lite.export.metadata import describe
from d2lite.modeling import build_model
from d2lite.utils.errors import ExportError
from tests.modeling.small_detectors import images_of
from tests.projects.detr import small as detr
from tests.projects.eomt import small as eomt
from tests.projects.mask2former import small as mask2former
from tests.projects.rtdetr import small as rtdetr
from tests.projects.rtmdet import small as rtmdet

from .images import differences

SIZES = ["INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96]
FIXED = ["INPUT.AUGMENTATIONS_TEST", ["Resize(shape=(96, 96))"]]
WITHIN = ["INPUT.AUGMENTATIONS_TEST", ["ResizeScale(1, 1, 80, 96)"]]
LOW = ["MODEL.RTMDET.SCORE_THRESH_TEST", 0.0]
MASKS = "MODEL.MASK_FORMER.TEST"
ALL_KINDS = [f"{MASKS}.SEMANTIC_ON", True, f"{MASKS}.PANOPTIC_ON", True]
SEMANTIC = [f"{MASKS}.SEMANTIC_ON", True, f"{MASKS}.INSTANCE_ON", False]
MODELS = {
    "RT-DETR": lambda: rtdetr.small_cfg("rtdetr", *FIXED),
    "RT-DETR with masks": lambda: rtdetr.small_cfg("rtdetr", *FIXED, "MODEL.MASK_ON", True),
    "D-FINE": lambda: rtdetr.small_cfg("dfine", *FIXED),
    "DETR": lambda: detr.small_cfg("detr", *SIZES),
    "Deformable DETR": lambda: detr.small_cfg("deformable", *SIZES),
    "two stages": lambda: detr.small_cfg("two stages", *SIZES),
    "DINO": lambda: detr.small_cfg("dino", *SIZES),
    "RTMDet": lambda: rtmdet.small_cfg("rtmdet_tiny.yaml", *SIZES, *LOW),
    "RTMDet-Ins": lambda: rtmdet.small_cfg("rtmdet_ins_tiny.yaml", *SIZES, *LOW),
    "Mask2Former": lambda: mask2former.small_cfg(*SIZES),
    "panoptic": lambda: mask2former.small_cfg(*SIZES, *ALL_KINDS),
    "semantic": lambda: mask2former.small_cfg(*SIZES, *SEMANTIC),
    "EoMT": lambda: eomt.small_cfg(*WITHIN),
}


class InMemory(Session):
    """A function in the place of a file."""

    def __init__(self, function, facts):
        self.function, self.facts = function, facts

    def _run(self, images, sizes):
        with torch.no_grad():
            return [x.numpy() for x in self.function(torch.tensor(images), torch.tensor(sizes))]


def make(name):
    """Configuration, model and function."""
    if name == "EoMT":
        pytest.importorskip("timm")
    cfg = MODELS[name]()
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    if "panoptic" in name:
        things = {number: number for number in range(3)}
        model.metadata = Metadata(thing_dataset_id_to_contiguous_id=things)
        model.object_mask_threshold, model.overlap_threshold = 0.0, 0.1
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * 0.02)
    return cfg, model, make_function(cfg, model)


def check(cfg, model, exported, sizes):
    batch = images_of(sizes)
    for difference in differences(cfg, model, exported, batch, best=8):
        assert not difference.faults(Tolerance(score=0.002, box=0.001, mask=0.05), 128), difference


@pytest.mark.parametrize("name", MODELS)
def test_function_gives_the_results_of_the_model(name):
    cfg, model, function = make(name)
    exported = ExportedModel(InMemory(function, describe(cfg, function, "onnx")))
    check(cfg, model, exported, [(96, 128)])
    check(cfg, model, exported, [(96, 128), (70, 50), (96, 128)])


def test_queries_that_are_masked_at_random_are_refused():
    pytest.importorskip("timm")
    model = build_model(eomt.small_cfg(*WITHIN)).eval()
    model.attn_mask_probs.fill_(0.5)
    with pytest.raises(ExportError, match="queries are masked at random"):
        make_function(eomt.small_cfg(*WITHIN), model)


def test_images_that_are_prepared_in_other_ways_are_refused():
    cfg = rtdetr.small_cfg(
        "rtdetr", "INPUT.AUGMENTATIONS_TEST", ["Resize(shape=(96, 96), interp=3)"]
    )
    with pytest.raises(ExportError, match=r"prepared by Resize; .* alone and bilinear"):
        make_function(cfg, build_model(cfg).eval())


def test_segments_are_compared_by_pixels_and_classes():
    ours = torch.tensor([[1, 1, 2, 2], [1, 1, 0, 0]], dtype=torch.int32)
    theirs = torch.tensor([[2, 2, 1, 1], [2, 2, 0, 1]], dtype=torch.int32)

    def segments(first, second):
        return [{"id": 1, "category_id": first}, {"id": 2, "category_id": second}]

    expected = {"panoptic_seg": (ours, segments(5, 7))}
    assert _pixels(expected, (ours, segments(5, 7))) == 1
    assert _pixels(expected, (theirs, segments(7, 5))) == 7 / 8
    assert _pixels(expected, (theirs, segments(5, 7))) == 1 / 8
    split = torch.tensor([[1, 3, 2, 2], [1, 1, 0, 0]], dtype=torch.int32)
    more = [*segments(5, 7), {"id": 3, "category_id": 5}]
    assert _pixels(expected, (split, more)) == 7 / 8


def _pixels(expected, found):
    difference: Difference = compare_results(expected, {"panoptic_seg": found}, 0.0)
    return difference.pixels
