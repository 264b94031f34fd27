"""The models of queries in the library transformers, with the same weights, on the same tensors."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.modeling import build_model
from d2lite.structures import BitMasks, Instances
from d2lite.utils.errors import ConfigError

from .clock import Side
from .peer import peer_side

__all__ = ["make_transformers_model", "transformers_side"]

_STAGES = ["stage2", "stage3", "stage4"]
_RESNET_18 = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}


def make_transformers_model(cfg: CfgNode) -> tuple[nn.Module, nn.Module]:
    """Make a model of transformers like that of a config, and ours with its weights.

    Args:
        cfg: of the architecture Detr, DeformableDETR, RTDETR (with HGNet D-FINE), MaskFormer or
            EoMT.

    Returns:
        Their model with random weights, and ours: of a ResNet-18; D-FINE-S; Mask2Former of a Swin
        of size T; EoMT of a ViT of size S.

    Raises:
        ConfigError: for another architecture, or if transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"--against transformers: it cannot be imported ({error}); pip install transformers."
        ) from error
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # has no types
    is_dfine = cfg.MODEL.BACKBONE.NAME == "build_hgnet_backbone"
    name = "D-FINE" if is_dfine else cfg.MODEL.META_ARCHITECTURE
    dropout = cfg.MODEL.DETR.DROPOUT if name in ("Detr", "DeformableDETR") else 0.0
    theirs = _model(name, dropout, transformers)
    # Both learn all weights; transformers freezes the backbone of some models as a whole.
    theirs.to(cfg.MODEL.DEVICE).requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        cfg = cfg.clone()
        cfg.merge_from_list(["MODEL.WEIGHTS", folder, "MODEL.BACKBONE.FREEZE_AT", 0])
        ours = build_model(cfg)
        DetectionCheckpointer(ours).load(folder)
    return theirs, ours


def _model(name: str, dropout: float, transformers: Any) -> Any:
    if name == "D-FINE":
        return transformers.DFineForObjectDetection(_dfine_config(transformers))
    if name == "RTDETR":
        backbone = transformers.RTDetrResNetConfig(**_RESNET_18, out_features=_STAGES)
        config = transformers.RTDetrV2Config(
            backbone_config=backbone,
            encoder_in_channels=[128, 256, 512],
            decoder_layers=3,
            hidden_expansion=0.5,
            num_labels=80,
        )
        return transformers.RTDetrV2ForObjectDetection(config)
    if name == "MaskFormer":
        swin = transformers.SwinConfig(out_features=["stage1", *_STAGES])
        config = transformers.Mask2FormerConfig(
            backbone_config=swin, num_labels=80, use_auxiliary_loss=True
        )
        return transformers.Mask2FormerForUniversalSegmentation(config)
    if name == "EoMT":
        config = transformers.EomtConfig(
            hidden_size=384,
            num_hidden_layers=12,
            num_attention_heads=6,
            num_blocks=3,
            image_size=224,
            num_labels=80,
        )
        return transformers.EomtForUniversalSegmentation(config)
    if name not in ("Detr", "DeformableDETR"):
        raise ConfigError(
            f"--against transformers compares the architectures Detr, DeformableDETR, RTDETR, "
            f"MaskFormer and EoMT, not {name}."
        )
    stages = _STAGES[2:] if name == "Detr" else _STAGES
    backbone = transformers.ResNetConfig(**_RESNET_18, out_features=stages)
    options = {"backbone_config": backbone, "auxiliary_loss": True, "num_labels": 80}
    # As in the original: parts of the attention and of the hidden layers are dropped as well.
    options |= dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), dropout)
    if name == "Detr":
        return transformers.DetrForObjectDetection(transformers.DetrConfig(**options))
    config = transformers.DeformableDetrConfig(
        **options, with_box_refine=True, two_stage=True, encoder_layers=3, decoder_layers=3
    )
    return transformers.DeformableDetrForObjectDetection(config)


def _dfine_config(transformers: Any) -> Any:
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        hidden_sizes=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
        use_learnable_affine_block=True,
        out_features=_STAGES,
    )
    return transformers.DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[256, 512, 1024],
        decoder_layers=3,
        decoder_n_points=[3, 6, 3],
        hidden_expansion=0.5,
        depth_mult=0.34,
        num_labels=80,
    )


def transformers_side(
    cfg: CfgNode, theirs: nn.Module, batch: Sequence[Mapping[str, Any]], *, is_train: bool
) -> Side:
    """Make the side of transformers.

    Args:
        cfg: MODEL.DEVICE and SOLVER.OPTIMIZER are read.
        theirs: as `make_transformers_model` returns it, on that device.
        batch: the samples that d2lite gets, of one size.
        is_train: measure a training step, else a prediction.
    """
    device = cfg.MODEL.DEVICE
    pixels = torch.stack([item["image"].flip(0) for item in batch]).to(device) / 255
    truths = [item["instances"] for item in batch]
    if cfg.MODEL.META_ARCHITECTURE in ("MaskFormer", "EoMT"):
        labels: dict[str, Any] = {
            "mask_labels": [
                BitMasks.of(truth.gt_masks, *truth.image_size).tensor.to(device).float()
                for truth in truths
            ],
            "class_labels": [truth.gt_classes.to(device) for truth in truths],
        }
    else:
        labels = {"labels": [_label(truth, device) for truth in truths]}

    def losses() -> Mapping[str, Tensor]:
        return {"loss": theirs(pixel_values=pixels, **labels).loss}

    return peer_side(
        "transformers",
        theirs,
        losses=losses if is_train else None,
        predict=lambda: theirs(pixel_values=pixels),
        device=device,
        optimizer=cfg.SOLVER.OPTIMIZER,
    )


def _label(truth: Instances, device: str) -> dict[str, Tensor]:
    height, width = truth.image_size
    low, high = truth.gt_boxes.tensor.split(2, dim=1)
    sides = torch.tensor([width, height])
    boxes = torch.cat([(low + high) / 2 / sides, (high - low) / sides], dim=1)
    return {"class_labels": truth.gt_classes.to(device), "boxes": boxes.to(device)}
