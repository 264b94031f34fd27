"""Heads that predict classes at points, and their loss.

R objects or images, P points of each, K classes (1 if masks are the same for all).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.modeling.weight_init import msra_fill, normal_fill
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import has_event_storage, log_scalars
from d2lite.utils.process_means import mean_weight
from d2lite.utils.registry import Registry

POINT_HEAD_REGISTRY = Registry("POINT_HEAD")
POINT_HEAD_REGISTRY.__doc__ = """
Heads for points by name: callables of (cfg, input_shape: ShapeSpec), chosen by
`MODEL.POINT_HEAD.NAME`.
"""

# Numbers that encode the place of a point.
_PLACE_CHANNELS = 256


def build_point_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """Make the head that `MODEL.POINT_HEAD.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: its channels are those of the features of a point.
    """
    return POINT_HEAD_REGISTRY.get(cfg.MODEL.POINT_HEAD.NAME)(cfg, input_shape)


def follow_num_classes(cfg: CfgNode, num_classes: int, key: str) -> None:
    """Give the point head the model's number of classes, unless somebody set another one.

    Args:
        cfg: MODEL.POINT_HEAD.NUM_CLASSES is derived in place; it may be frozen.
        num_classes: of the model.
        key: where that comes from.

    Raises:
        ConfigError: if somebody set another one.
    """
    own = "MODEL.POINT_HEAD.NUM_CLASSES"
    if num_classes == cfg.MODEL.POINT_HEAD.NUM_CLASSES:
        return
    if not (cfg.is_default(own) or cfg.origin(own).startswith("derived")):
        raise ConfigError(
            f"{own} is {cfg.MODEL.POINT_HEAD.NUM_CLASSES} and {key} {num_classes}. Make both "
            f"equal, or leave {own} out: then it follows."
        )
    cfg.derive(own, num_classes, key)


def roi_mask_point_loss(
    mask_logits: Tensor, instances: Sequence[Instances], point_labels: Tensor
) -> Tensor:
    """Binary cross entropy at points, of the mask of each object's true class.

    Args:
        mask_logits: (R, K, P).
        instances: of each image, with gt_classes; R in all.
        point_labels: (R, P) in [0, 1], or -1 for points that do not count.

    Returns:
        scalar, the mean over all points; zero with a gradient where there is no object.
    """
    count = point_labels.numel()
    share = mean_weight(count, mask_logits)
    if not count:
        return mask_logits.sum() * 0.0
    classes = torch.cat([found.gt_classes for found in instances])
    logits_RP = of_class(mask_logits, classes)[:, 0].float()
    counts_RP = point_labels != -1
    truth_RP = point_labels.to(logits_RP.dtype)
    if has_event_storage():
        is_right = ((logits_RP > 0) == (truth_RP > 0.5)) & counts_RP
        accuracy = is_right.sum() / counts_RP.sum().clamp(min=1)
        log_scalars({"point_rend/accuracy": accuracy})
    losses = F.binary_cross_entropy_with_logits(
        logits_RP, truth_RP, weight=counts_RP.to(logits_RP.dtype)
    )
    return losses * share


def of_class(logits: Tensor, classes: Tensor) -> Tensor:
    """The channel of each object's class, or the only one there is.

    Args:
        logits: (R, K, ...).
        classes: (R,) int64.

    Returns:
        (R, 1, ...).
    """
    if logits.shape[1] == 1:
        return logits
    return logits[torch.arange(logits.shape[0], device=logits.device), classes, None]


@POINT_HEAD_REGISTRY.register()
class StandardPointHead(nn.Module):
    """Some layers for each point by itself, on its fine features and its coarse prediction.

    Args:
        input_shape: its channels are those of the fine features.
        num_classes: K of the coarse prediction.
        fc_dims: channels of each layer.
        cls_agnostic_mask: predict one number for all classes.
        coarse_pred_each_layer: append the coarse prediction to the input of each layer, not of the
            first alone.

    Source: Kirillov 2019, arXiv:1912.08193, section 3.3.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        fc_dims: Sequence[int],
        cls_agnostic_mask: bool = False,
        coarse_pred_each_layer: bool = True,
    ) -> None:
        super().__init__()
        self.coarse_pred_each_layer = coarse_pred_each_layer
        channels = input_shape.channels + num_classes
        self.fc_layers = []
        for number, width in enumerate(fc_dims, start=1):
            self.add_module(f"fc{number}", nn.Conv1d(channels, width, kernel_size=1))
            self.fc_layers.append(f"fc{number}")
            channels = width + (num_classes if coarse_pred_each_layer else 0)
        self.predictor = nn.Conv1d(channels, 1 if cls_agnostic_mask else num_classes, 1)
        for name in self.fc_layers:
            msra_fill(getattr(self, name))
        normal_fill(self.predictor, std=0.001)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.POINT_HEAD`."""
        node = cfg.MODEL.POINT_HEAD
        return {
            "input_shape": input_shape,
            "num_classes": node.NUM_CLASSES,
            "fc_dims": [node.FC_DIM] * node.NUM_FC,
            "cls_agnostic_mask": node.CLS_AGNOSTIC_MASK,
            "coarse_pred_each_layer": node.COARSE_PRED_EACH_LAYER,
        }

    def forward(self, fine_grained_features: Tensor, coarse_features: Tensor) -> Tensor:
        """Predict.

        Args:
            fine_grained_features: (R, C, P).
            coarse_features: (R, K, P), the coarse prediction at the points.

        Returns:
            (R, K, P) logits, or (R, 1, P).
        """
        x = torch.cat([fine_grained_features, coarse_features], dim=1)
        for name in self.fc_layers:
            x = F.relu(getattr(self, name)(x))
            if self.coarse_pred_each_layer:
                x = torch.cat([x, coarse_features], dim=1)
        return self.predictor(x)


@POINT_HEAD_REGISTRY.register()
class ImplicitPointHead(nn.Module):
    """A small network whose weights are predicted for each object.

    Args:
        input_shape: its channels are those of the fine features.
        num_classes: K.
        channels: of the hidden layers.
        num_layers: the predicting one included.
        image_feature_enabled: show the network the fine features of a point.
        pos_enc_enabled: show it the place of the point, in random Fourier features.

    Attributes:
        num_params: weights and biases of one object's network.

    Source: Cheng 2021, arXiv:2104.06404, section 5; Tancik 2020, arXiv:2006.10739.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        channels: int,
        num_layers: int,
        image_feature_enabled: bool = True,
        pos_enc_enabled: bool = True,
    ) -> None:
        super().__init__()
        if not (image_feature_enabled or pos_enc_enabled):
            raise ConfigError(
                "The implicit point head is shown nothing. Switch on "
                "MODEL.IMPLICIT_POINTREND.IMAGE_FEATURE_ENABLED or POS_ENC_ENABLED."
            )
        self.image_feature_enabled = image_feature_enabled
        self.pos_enc_enabled = pos_enc_enabled
        seen = input_shape.channels if image_feature_enabled else 0
        if pos_enc_enabled:
            seen += _PLACE_CHANNELS
            self.register_buffer(
                "positional_encoding_gaussian_matrix", torch.randn(2, _PLACE_CHANNELS // 2)
            )
        widths = [seen, *[channels] * (num_layers - 1), num_classes]
        self.layer_shapes = list(zip(widths[1:], widths[:-1], strict=True))
        self.num_params = sum(rows * (columns + 1) for rows, columns in self.layer_shapes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.POINT_HEAD` and `MODEL.IMPLICIT_POINTREND`."""
        node = cfg.MODEL.POINT_HEAD
        return {
            "input_shape": input_shape,
            "num_classes": 1 if node.CLS_AGNOSTIC_MASK else node.NUM_CLASSES,
            "channels": node.FC_DIM,
            "num_layers": node.NUM_FC + 1,
            "image_feature_enabled": cfg.MODEL.IMPLICIT_POINTREND.IMAGE_FEATURE_ENABLED,
            "pos_enc_enabled": cfg.MODEL.IMPLICIT_POINTREND.POS_ENC_ENABLED,
        }

    def forward(
        self, fine_grained_features: Tensor, point_coords: Tensor, parameters: Tensor
    ) -> Tensor:
        """Run each object's network on its points.

        Args:
            fine_grained_features: (R, C, P).
            point_coords: (R, P, 2) within the boxes.
            parameters: (R, num_params): the weights of all layers, then their biases.

        Returns:
            (R, K, P) logits.
        """
        seen = [self._encode(point_coords)] if self.pos_enc_enabled else []
        if self.image_feature_enabled:
            seen.append(fine_grained_features)
        x = torch.cat(seen, dim=1)
        weights, biases = self._split(parameters)
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = torch.baddbmm(bias[:, :, None], weight, F.relu(x) if number else x)
        return x

    def _encode(self, point_coords: Tensor) -> Tensor:
        """(R, P, 2) -> (R, 256, P): sine and cosine of random projections of the place."""
        angles = (2 * point_coords - 1) @ self.positional_encoding_gaussian_matrix * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).transpose(1, 2)

    def _split(self, parameters: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The (R, rows, columns) weights and the (R, rows) biases of each layer."""
        sizes = [rows * columns for rows, columns in self.layer_shapes]
        parts = parameters.split([*sizes, *(rows for rows, _ in self.layer_shapes)], dim=1)
        weights = [
            part.unflatten(1, shape)
            for part, shape in zip(parts[: len(sizes)], self.layer_shapes, strict=True)
        ]
        return weights, list(parts[len(sizes) :])
