"""Detectors that predict at cells: losses of odd batches, results of images of any size."""

import pytest
import torch

from d2lite.modeling import build_model

from .dense import small as dense
from .fcpose import small as fcpose
from .rtmdet import small as rtmdet
from .ssd import small as ssd
from .yolov3 import small as yolov3
from .yolox import small as yolox

# Of each model: how to make it, its images, its losses, and those that are 0 without objects.
MODELS = {
    "RTMDet-Ins": (
        rtmdet.small_cfg,
        rtmdet.image,
        {"loss_cls", "loss_bbox", "loss_mask"},
        {"loss_bbox", "loss_mask"},
    ),
    "YOLOX": (
        yolox.small_cfg,
        yolox.image,
        {"loss_obj", "loss_cls", "loss_bbox"},
        {"loss_cls", "loss_bbox"},
    ),
    "YOLOv3": (
        yolov3.build,
        yolov3.image,
        {"loss_cls", "loss_conf", "loss_xy", "loss_wh"},
        {"loss_cls", "loss_xy", "loss_wh"},
    ),
    **{
        name: (
            lambda name=name: ssd.build(name),
            ssd.image,
            {"loss_cls", "loss_bbox"},
            {"loss_cls", "loss_bbox"},
        )
        for name in ("ssd300.yaml", "ssdlite_mobilenetv2.yaml")
    },
    "FCPose": (
        fcpose.small_cfg,
        fcpose.image,
        {
            *("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"),
            *("loss_keypoint", "loss_direction", "loss_basis"),
        },
        {"loss_fcos_loc", "loss_fcos_ctr", "loss_keypoint", "loss_direction"},
    ),
    # Group norm needs two values a group, also where a map has one cell.
    **{
        kind: (
            lambda kind=kind: dense.small_cfg(kind, "MODEL.FPN.OUT_CHANNELS", 64),
            dense.image,
            {"loss_cls", "loss_bbox", *third},
            {"loss_bbox", *third},
        )
        for kind, third in (
            ("ATSS", ["loss_centerness"]),
            ("GFL", ["loss_dfl"]),
            ("VFNet", ["loss_bbox_refine"]),
            ("ScaledFCOS", ["loss_centerness"]),
            ("FSAF", []),
            ("SABLRetinaNet", ["loss_bucket"]),
        )
    },
}


def make(name: str):
    """A small model with start values of a seed."""
    torch.manual_seed(0)
    made = MODELS[name][0]()
    return made if isinstance(made, torch.nn.Module) else build_model(made)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 40)])
@pytest.mark.parametrize("name", MODELS)
def test_losses_are_finite_and_reach_every_weight(name, counts):
    """Without objects, with one, and with more than cells of the coarsest level."""
    model = make(name)
    _, image, names, zero_without_objects = MODELS[name]
    losses = model.losses([image(seed, count) for seed, count in enumerate(counts)])
    assert set(losses) == names
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    for weight, value in model.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, weight
            assert value.grad.isfinite().all(), weight
    if not any(counts):
        assert {key for key, value in losses.items() if value == 0} == zero_without_objects
    if counts == (3, 40):
        assert min(losses.values()) > 0


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_finite_in_bfloat16(name):
    model, image = make(name), MODELS[name][1]
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses([image(0, 3), image(1, 0)])
    assert all(value.isfinite() for value in losses.values())


OF_ANY_SIZE = [name for name in MODELS if not name.startswith("ssd")]


@pytest.mark.parametrize("size", [(17, 33), (64, 96), (100, 40)])
@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_results_have_the_size_that_was_asked_for(name, size):
    model, image = make(name).eval(), MODELS[name][1]
    model.test_score_thresh = 0.0
    asked = {**image(0, 0, *size), "height": 50, "width": 70}
    with torch.no_grad():
        (result,) = model.predict([asked])
    found = result["instances"]
    assert found.image_size == (50, 70)
    assert 0 < len(found) <= 100
    assert (found.scores.diff() <= 0).all()
    more = {"RTMDet-Ins": {"pred_masks"}, "FCPose": {"pred_keypoints"}}.get(name, set())
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes"} | more


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_images_without_detections_have_empty_results(name):
    model, image = make(name).eval(), MODELS[name][1]
    model.test_score_thresh = 1.0
    with torch.no_grad():
        results = model.predict([image(0, 0), image(1, 0, 40, 60)])
    found = [result["instances"] for result in results]
    assert [len(one) for one in found] == [0, 0]
    assert [one.image_size for one in found] == [(64, 96), (40, 60)]
