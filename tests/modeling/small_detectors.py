"""Detectors of a few channels with random weights that find something in any image."""

import torch

from d2lite.engine import setup_cfg
from d2lite.modeling import build_model

_COMMON = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "TEST.DETECTIONS_PER_IMAGE", 30),
    *("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96),
    *("MODEL.ROI_HEADS.NUM_CLASSES", 5),
]
_ONE_STAGE = [
    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone", "MODEL.ROI_HEADS.NAME", ""),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
]
_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
SMALL = {
    "faster": ["MODEL.MASK_ON", False],
    "mask": [],
    "cascade": [
        *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.MASK_ON", False),
        *("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", [0.4, 0.5, 0.6]),
        *("MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.4], "MODEL.ROI_HEADS.IOU_LABELS", [0, 1]),
    ],
    "cascade_masks": [
        *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS", True),
        *("MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.5], "MODEL.ROI_HEADS.IOU_LABELS", [0, 1]),
        *("MODEL.ROI_BOX_CASCADE_HEAD.AVERAGE", "logits"),
        *("MODEL.ROI_BOX_HEAD.CLASS_LOSS", "seesaw", "MODEL.ROI_BOX_HEAD.COSINE_SCALE", 20.0),
        *("MODEL.ROI_MASK_HEAD.COSINE_SCALE", 20.0),
    ],
    "c4": [
        *("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "MODEL.ROI_HEADS.IN_FEATURES", ["res4"]),
        *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RPN.IN_FEATURES", ["res4"]),
        *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.WIDTH_PER_GROUP", 32),
        *("MODEL.RESNETS.OUT_FEATURES", ["res4"]),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[18, 36, 72]]),
    ],
    "retinanet": [
        *_ONE_STAGE,
        *("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", 5),
        *("MODEL.RETINANET.NUM_CONVS", 1, "MODEL.RETINANET.PRIOR_PROB", 0.2),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64], [128], [256]]),
        *("MODEL.RETINANET.IN_FEATURES", _FEATURES),
    ],
    "fcos": [
        *_ONE_STAGE,
        *("MODEL.META_ARCHITECTURE", "FCOS", "MODEL.FCOS.NUM_CLASSES", 5),
        *(
            "MODEL.FCOS.NUM_CONVS",
            1,
            "MODEL.FCOS.PRIOR_PROB",
            0.2,
            "MODEL.FCOS.IN_FEATURES",
            _FEATURES,
        ),
    ],
}
"""Name -> what differs from the configuration of the quick start."""

# Layers whose random weights are larger than at the start of a training.
_PREDICTORS = (
    *("objectness_logits.weight", "anchor_deltas.weight", "bbox_pred.weight"),
    *("cls_score.weight", "predictor.weight"),
)


def small_config(name, *options):
    """The configuration of one of `SMALL`."""
    return setup_cfg("quick_start.yaml", [*_COMMON, *SMALL[name], *options])


def fill(model):
    """Give a model weights with which its scores and boxes differ; it is returned."""
    generator = torch.Generator().manual_seed(0)
    for name, weights in model.named_parameters():
        if name.endswith(_PREDICTORS):
            spread = 0.5 / weights[0].numel() ** 0.5
            weights.data = torch.randn(weights.shape, generator=generator) * spread
    return model.eval()


def small_detector(name):
    """One of `SMALL`, in evaluation mode."""
    torch.manual_seed(0)
    return fill(build_model(small_config(name)))


def images_of(sizes):
    """A batch of images with smooth patterns, one of each (height, width)."""
    batch = []
    for number, (height, width) in enumerate(sizes):
        generator = torch.Generator().manual_seed(number)
        coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator) * 255
        image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        batch.append({"image": image.to(torch.uint8), "height": height, "width": width})
    return batch
