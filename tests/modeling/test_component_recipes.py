"""Each recipe of a component trains: its losses are finite and reach every parameter."""

import pytest
import torch

from d2lite.commands.benchmarking.batches import count_classes_of, generated_batch
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.structures import RotatedBoxes
from d2lite.utils.events import EventStorage

RECIPES = [
    "faster_rcnn_R_50_FPN_1x_ohem.yaml",
    "libra_faster_rcnn_R_50_FPN_1x.yaml",
    "pisa_faster_rcnn_R_50_FPN_1x.yaml",
    "faster_rcnn_R_50_PAFPN_1x.yaml",
    "faster_rcnn_R_50_HRFPN_1x.yaml",
    "retinanet_R_50_FPN_1x_ghm.yaml",
    "retinanet_R_50_NASFPN_1x.yaml",
    "retinanet_R_50_BiFPN_1x.yaml",
    "mask_rcnn_R_50_FPN_1x_global_context.yaml",
    "mask_rcnn_R_50_FPN_1x_non_local.yaml",
    "faster_rcnn_R_50_FPN_1x_rfb.yaml",
    "faster_rcnn_R_50_FPN_1x_spp.yaml",
    "mask_rcnn_R_50_FPN_1x_seesaw.yaml",
    "rotated_faster_rcnn_R_50_FPN_iou.yaml",
]
NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 8,
    "MODEL.FPN.OUT_CHANNELS", 16,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16,
    "MODEL.ROI_MASK_HEAD.CONV_DIM", 8,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 60,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16,
    "MODEL.BACKBONE.FREEZE_AT", 0,
]  # fmt: skip


def _turned(boxes):
    low, high = boxes.tensor.split(2, dim=1)
    angle = torch.full((len(boxes), 1), 20.0)
    return RotatedBoxes(torch.cat([(low + high) / 2, high - low, angle], dim=1))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_of_the_recipe_reaches_every_parameter(recipe):
    torch.manual_seed(0)
    cfg = setup_cfg(recipe, [str(word) for word in NARROW])
    model = build_model(cfg).train()
    batch = generated_batch(cfg, count_classes_of(model), size=(128, 128), batch=2, objects=3)
    if "rotated" in recipe:
        for sample in batch:
            sample["instances"].gt_boxes = _turned(sample["instances"].gt_boxes)
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
