"""A vision transformer of timm under every family of detectors: a step, odd sizes, prediction."""

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.modeling import build_model
from d2lite.projects.mask2former import add_maskformer2_config
from d2lite.projects.rtdetr import add_rtdetr_config
from d2lite.projects.solov2 import add_solov2_config
from d2lite.structures import BitMasks, Boxes, Instances

pytest.importorskip("timm")
pytest.importorskip("scipy")

NUM_CLASSES = 3
LEVELS = ["p2", "p3", "p4", "p5"]
ROI = [
    "MODEL.FPN.IN_FEATURES", [],
    "MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64], [128], [256]],
    "MODEL.RPN.IN_FEATURES", [*LEVELS, "p6"],
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50,
    "MODEL.ROI_HEADS.NAME", "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES", LEVELS,
    "MODEL.ROI_HEADS.NUM_CLASSES", NUM_CLASSES,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
    "MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC", 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 32,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7,
]  # fmt: skip
FAMILIES = {
    "Faster R-CNN": ROI,
    "Mask R-CNN": [
        *ROI,
        "MODEL.MASK_ON", True,
        "MODEL.ROI_MASK_HEAD.NUM_CONV", 1,
        "MODEL.ROI_MASK_HEAD.CONV_DIM", 16,
    ],
    "Cascade R-CNN": [
        *ROI,
        "MODEL.ROI_HEADS.NAME", "CascadeROIHeads",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True,
    ],
    "RetinaNet": [
        "MODEL.META_ARCHITECTURE", "RetinaNet",
        "MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64], [128], [256]],
        "MODEL.RETINANET.NUM_CLASSES", NUM_CLASSES,
        "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0,
        "MODEL.RETINANET.NUM_CONVS", 1,
    ],
    "FCOS": [
        "MODEL.META_ARCHITECTURE", "FCOS",
        "MODEL.FPN.OUT_CHANNELS", 32,
        "MODEL.FCOS.NUM_CLASSES", NUM_CLASSES,
        "MODEL.FCOS.SCORE_THRESH_TEST", 0.0,
        "MODEL.FCOS.NUM_CONVS", 1,
    ],
    "SOLOv2": [
        "MODEL.META_ARCHITECTURE", "SOLOv2",
        "MODEL.FPN.OUT_CHANNELS", 32,
        "MODEL.SOLOV2.NUM_CLASSES", NUM_CLASSES,
        "MODEL.SOLOV2.INSTANCE_IN_CHANNELS", 32,
        "MODEL.SOLOV2.INSTANCE_CHANNELS", 32,
        "MODEL.SOLOV2.NUM_INSTANCE_CONVS", 1,
        "MODEL.SOLOV2.MASK_IN_CHANNELS", 32,
        "MODEL.SOLOV2.MASK_CHANNELS", 32,
        "MODEL.SOLOV2.NUM_KERNELS", 32,
        "MODEL.SOLOV2.NUM_MASKS", 32,
    ],
    "Mask2Former": [
        "MODEL.META_ARCHITECTURE", "MaskFormer",
        "MODEL.SEM_SEG_HEAD.NAME", "MaskFormerHead",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES", LEVELS,
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", LEVELS[1:],
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES", NUM_CLASSES,
        "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "MSDeformAttnPixelDecoder",
        "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 1,
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS", 2,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32,
        "MODEL.SEM_SEG_HEAD.MASK_DIM", 16,
        "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE", "multi_scale_pixel_decoder",
        "MODEL.MASK_FORMER.HIDDEN_DIM", 16,
        "MODEL.MASK_FORMER.NHEADS", 2,
        "MODEL.MASK_FORMER.DIM_FEEDFORWARD", 32,
        "MODEL.MASK_FORMER.DEC_LAYERS", 4,
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 6,
        "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 64,
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", False,
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON", True,
    ],
    "RT-DETR": [
        "MODEL.META_ARCHITECTURE", "RTDETR",
        "MODEL.RTDETR.IN_FEATURES", LEVELS[1:],
        "MODEL.RTDETR.NUM_CLASSES", NUM_CLASSES,
        "MODEL.RTDETR.ENCODER.HIDDEN_DIM", 16,
        "MODEL.RTDETR.ENCODER.FEEDFORWARD", 24,
        "MODEL.RTDETR.ENCODER.HEADS", 2,
        "MODEL.RTDETR.DECODER.HIDDEN_DIM", 16,
        "MODEL.RTDETR.DECODER.FEEDFORWARD", 24,
        "MODEL.RTDETR.DECODER.HEADS", 2,
        "MODEL.RTDETR.DECODER.LAYERS", 2,
        "MODEL.RTDETR.DECODER.QUERIES", 12,
        "MODEL.RTDETR.DENOISING.QUERIES", 4,
    ],
}  # fmt: skip


def model_of(family, name, *more):
    cfg = get_cfg()
    for add in (add_maskformer2_config, add_rtdetr_config, add_solov2_config):
        add(cfg)
    options = {"depth": 2, "embed_dim": 48, "num_heads": 2}
    cfg.MODEL.ADAPTER.OPTIONS.update(options)
    cfg.merge_from_list(
        [
            "MODEL.DEVICE", "cpu",
            "MODEL.BACKBONE.NAME", f"timm_vit_fpn:{name}",
            "MODEL.BACKBONE.FREEZE_AT", 1,
            "MODEL.FPN.OUT_CHANNELS", 16,
            *FAMILIES[family],
            *more,
        ]
    )  # fmt: skip
    torch.manual_seed(0)
    return build_model(cfg)


def sample(family, seed, height, width):
    """Two rectangles."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.tensor([[5.0, 6, 30, 40], [20, 10, 52, 50]])
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    truth = Instances((height, width), gt_boxes=Boxes(boxes), gt_classes=torch.tensor([0, 2]))
    truth.gt_masks = masks if family == "Mask2Former" else BitMasks(masks)
    pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": pixels, "instances": truth, "height": height, "width": width}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch16_dinov3"])
def test_a_step_on_odd_sizes_reaches_all_parameters_that_learn(family, name):
    model = model_of(
        family, name, "MODEL.TIMM_VIT.WINDOW_SIZE", 3, "MODEL.TIMM_VIT.GLOBAL_BLOCKS", [1]
    )
    batch = [sample(family, 1, 67, 95), sample(family, 2, 101, 59)]
    losses = model(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None] == []
    frozen = {name for name, _ in model.named_parameters()} - set(learning)
    assert any("patch_embed" in name for name in frozen)
    assert not any("blocks" in name for name in frozen)
    model.eval()
    with torch.no_grad():
        results = model([{k: v for k, v in one.items() if k != "instances"} for one in batch])
    assert [one["instances"].image_size for one in results] == [(67, 95), (101, 59)]


@pytest.mark.parametrize("family", ["Faster R-CNN", "RetinaNet", "RT-DETR"])
def test_images_of_one_size_give_alone_what_they_give_together(family):
    """Of unequal sizes they do not: the transformer sees the padding."""
    model = model_of(family, "vit_small_patch14_reg4_dinov2").eval()
    batch = [sample(family, seed, 64, 96) for seed in (1, 2)]
    for one in batch:
        del one["instances"]
    with torch.no_grad():
        together = model(batch)
        alone = [model([one])[0] for one in batch]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(
            one["instances"].scores, other["instances"].scores, rtol=1e-4, atol=1e-5
        )
