"""A step in several passes has the gradients of one pass, with the losses of each project."""

import pytest
import torch

from d2lite.modeling import build_model

from .detr.small import KINDS as DETR_KINDS
from .detr.small import small_cfg as detr_cfg
from .eomt.small import image as image_for_eomt
from .eomt.small import small_cfg as eomt_cfg
from .rtdetr.small import image as image_for_queries
from .rtdetr.small import small_cfg as rtdetr_cfg
from .rtmdet.small import image as image_with_masks
from .rtmdet.small import small_cfg as rtmdet_cfg
from .runs import gradients
from .yolov3.small import small_cfg as yolov3_cfg
from .yolox.small import image
from .yolox.small import small_cfg as yolox_cfg


def fixed(*sections: str) -> list[str]:
    """Batch norm that computes the same in each pass."""
    return [word for name in sections for word in (f"MODEL.{name}.NORM", "FrozenBN")]


def rtdetr(kind: str, backbone: str):
    return rtdetr_cfg(kind, "MODEL.MASK_ON", "True", *fixed("RTDETR", backbone))


# Images, the least size of a gradient that differences are compared with, and the config.
CASES = {
    "YOLOX": (image, 1e-4, lambda: yolox_cfg("yolox_s.yaml", *fixed("YOLOX", "CSPDARKNET"))),
    "YOLOv3": (image, 1e-4, lambda: yolov3_cfg("yolov3_608.yaml", *fixed("YOLOV3", "DARKNET"))),
    "RTMDet-Ins": (
        image_with_masks,
        1e-4,
        lambda: rtmdet_cfg("rtmdet_ins_tiny.yaml", *fixed("RTMDET", "CSPNEXT")),
    ),
    "RT-DETR": (image_for_queries, 1e-3, lambda: rtdetr("rtdetr", "RESNETS")),
    "D-FINE": (image_for_queries, 1e-3, lambda: rtdetr("dfine", "HGNET")),
    **{
        f"DETR, {kind}": (
            image_for_queries,
            1e-3,
            lambda kind=kind: detr_cfg(kind, "MODEL.DETR.DROPOUT", 0.0),
        )
        for kind in DETR_KINDS
    },
    "EoMT": (image_for_eomt, 1e-3, eomt_cfg),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_passes_are_those_of_one(name):
    """Images with one, four, no and two objects: losses are divided by sums over the batch."""
    make_image, least, config = CASES[name]
    if name == "EoMT":
        pytest.importorskip("timm")
    found = []
    for parts in (1, 4):
        torch.manual_seed(0)
        model = build_model(config())
        if name == "YOLOX":
            # Pixels of 0 to 255 without a norm that learns would end in sizes beyond float32.
            model.backbone.bottom_up.stem.conv.conv.weight.data /= 255
        batch = [make_image(seed, count) for seed, count in enumerate((1, 4, 0, 2))]
        found.append(gradients(model, batch, parts))
    for weight, value in found[0].items():
        scale = value.abs().max().clamp(min=least)
        assert (found[1][weight] - value).abs().max() < 2e-3 * scale, weight
