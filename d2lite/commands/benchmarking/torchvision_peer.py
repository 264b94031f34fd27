"""torchvision's model of the same architecture, on the same tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from d2lite.config import CfgNode
from d2lite.structures import BitMasks
from d2lite.utils.errors import ConfigError

from .batches import fit_frozen_norms
from .clock import Side
from .peer import peer_side

__all__ = ["own_target", "torchvision_side"]

# Stages of a ResNet that torchvision counts as trained, by our MODEL.BACKBONE.FREEZE_AT.
_TRAINED_STAGES = {0: 5, 1: 4, 2: 3, 3: 2, 4: 1, 5: 0}


def torchvision_side(
    cfg: CfgNode, batch: Sequence[Mapping[str, Any]], num_classes: int, *, is_train: bool
) -> Side:
    """Make the side of torchvision.

    Args:
        cfg: the architecture, depth, frozen stages and thresholds are read.
        batch: the samples that d2lite gets.
        num_classes: without background.
        is_train: measure a training step, else a prediction.

    Raises:
        ConfigError: if torchvision has no such model.
    """
    height, width = batch[0]["image"].shape[-2:]
    # Its own resizing keeps the images as they are.
    sizes = {"min_size": min(height, width), "max_size": max(height, width)}
    device = cfg.MODEL.DEVICE
    model = _model(cfg, num_classes, sizes).to(device)
    images = [(item["image"].flip(0).float() / 255).to(device) for item in batch]
    targets = [own_target(item, cfg, device) for item in batch]
    fit_frozen_norms(model, lambda: model.eval()(images))

    def losses() -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = model(images, targets)
        return found

    return peer_side(
        "torchvision",
        model,
        losses=losses if is_train else None,
        predict=lambda: model(images),
        device=device,
        optimizer=cfg.SOLVER.OPTIMIZER,
        count_objects=lambda found: sum(len(one["scores"]) for one in found),
    )


def _model(cfg: CfgNode, num_classes: int, sizes: dict[str, int]) -> nn.Module:
    name = cfg.MODEL.META_ARCHITECTURE
    depth = cfg.MODEL.RESNETS.DEPTH
    is_fpn = cfg.MODEL.BACKBONE.NAME.endswith("_fpn_backbone")
    if name not in ("GeneralizedRCNN", "RetinaNet", "FCOS") or not is_fpn:
        raise ConfigError(
            f"torchvision has no model like {name} with {cfg.MODEL.BACKBONE.NAME}; --against "
            "torchvision compares Faster R-CNN, Mask R-CNN, RetinaNet and FCOS with a ResNet-FPN."
        )
    trained = _TRAINED_STAGES[cfg.MODEL.BACKBONE.FREEZE_AT]
    is_dense = name != "GeneralizedRCNN"
    more = {"returned_layers": [2, 3, 4]} if is_dense else {}
    if is_dense:
        more["extra_blocks"] = LastLevelP6P7(256, 256)
    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{depth}",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=trained,
        **more,
    )
    most = cfg.TEST.DETECTIONS_PER_IMAGE
    if name == "RetinaNet":
        lowest = cfg.MODEL.RETINANET.SCORE_THRESH_TEST
        return detection.RetinaNet(
            backbone, num_classes, score_thresh=lowest, detections_per_img=most, **sizes
        )
    if name == "FCOS":
        lowest = cfg.MODEL.FCOS.SCORE_THRESH_TEST
        return detection.FCOS(
            backbone, num_classes, score_thresh=lowest, detections_per_img=most, **sizes
        )
    kind = detection.MaskRCNN if cfg.MODEL.MASK_ON else detection.FasterRCNN
    return kind(
        backbone,
        num_classes + 1,
        box_score_thresh=cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
        box_detections_per_img=most,
        **sizes,
    )


def own_target(item: Mapping[str, Any], cfg: CfgNode, device: str) -> dict[str, Tensor]:
    """The truth of a sample as torchvision's models take it.

    Args:
        item: a sample of `generated_batch` or of a training loader.
        cfg: the architecture, and whether it has masks.
        device: where the tensors go.

    Returns:
        "boxes" (N, 4), "labels" (N,) and for models with masks "masks" (N, H, W) uint8.
    """
    truth = item["instances"]
    first = 1 if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" else 0
    target = {"boxes": truth.gt_boxes.tensor, "labels": truth.gt_classes + first}
    if cfg.MODEL.MASK_ON:
        masks = BitMasks.of(truth.gt_masks, *truth.image_size)
        target["masks"] = masks.tensor.to(torch.uint8)
    return {name: value.to(device) for name, value in target.items()}
