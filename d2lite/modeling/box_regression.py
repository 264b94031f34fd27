"""What a network predicts for a box, and back: deltas <-> boxes, and the loss on them.

N images, R boxes an image, K boxes predicted for each (one a class).
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.layers import (
    balanced_l1_loss,
    bounded_iou_loss,
    cat,
    ciou_loss,
    diou_loss,
    eiou_loss,
    giou_loss,
    iou_loss,
    rotated_iou_loss,
    smooth_l1_loss,
)
from d2lite.structures import Boxes
from d2lite.utils.errors import ArgumentError, ConfigError

__all__ = [
    "Box2BoxTransform",
    "Box2BoxTransformLinear",
    "Box2BoxTransformRotated",
    "box_regression_loss",
]

# Anchors of stride 16 cannot be asked for boxes of more than 1000 pixels.
_DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)


def _sizes_and_centres(boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) xyxy -> width and height (..., 2), centre (..., 2)."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    size = high - low
    return size, low + 0.5 * size


def _check_lengths(deltas: Tensor, boxes: Tensor) -> None:
    if deltas.shape[0] != boxes.shape[0]:
        raise ArgumentError(f"{len(deltas)} deltas for {len(boxes)} boxes; give one row a box.")


# TorchScript compiles this class: it knows tuples of a fixed length, and no base classes.
class Box2BoxTransform:
    """Shift relative to the size of the source box, and logarithm of the change of size.

    Args:
        weights: factors of (dx, dy, dw, dh), which bring the targets near unit variance.
        scale_clamp: upper bound of dw and dh, so that no prediction overflows `exp`.

    Source: Girshick 2014, arXiv:1311.2524, appendix C.
    """

    def __init__(
        self, weights: tuple[float, float, float, float], scale_clamp: float = _DEFAULT_SCALE_CLAMP
    ) -> None:
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Find the deltas that `apply_deltas` turns into the targets.

        Args:
            src_boxes: (R, 4) float, xyxy in pixels, width and height > 0.
            target_boxes: (R, 4) float, xyxy in pixels, width and height > 0.

        Returns:
            (R, 4) float, (dx, dy, dw, dh).
        """
        src_size, src_centre = _sizes_and_centres(src_boxes)
        target_size, target_centre = _sizes_and_centres(target_boxes)
        shift = (target_centre - src_centre) / src_size
        scale = torch.log(target_size / src_size)
        wx, wy, ww, wh = self.weights
        dx, dy = shift.unbind(-1)
        dw, dh = scale.unbind(-1)
        return torch.stack([wx * dx, wy * dy, ww * dw, wh * dh], dim=-1)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Move and scale boxes by predicted deltas.

        Args:
            deltas: (R, 4 * K) float, (dx, dy, dw, dh) of each of K predictions.
            boxes: (R, 4) float, xyxy in pixels.

        Returns:
            (R, 4 * K) float32, xyxy in pixels, not clipped to the image.

        Raises:
            ArgumentError: if the two first axes differ.
        """
        _check_lengths(deltas, boxes)
        # Half precision has too few digits for coordinates of a large image.
        deltas = deltas.float()
        size, centre = _sizes_and_centres(boxes.to(deltas.dtype))
        width, height = size[:, 0:1], size[:, 1:2]
        wx, wy, ww, wh = self.weights
        x = centre[:, 0:1] + width * (deltas[:, 0::4] / wx)
        y = centre[:, 1:2] + height * (deltas[:, 1::4] / wy)
        half_w = 0.5 * width * (deltas[:, 2::4] / ww).clamp(max=self.scale_clamp).exp()
        half_h = 0.5 * height * (deltas[:, 3::4] / wh).clamp(max=self.scale_clamp).exp()
        corners = torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], dim=-1)
        return corners.reshape(deltas.shape)


class Box2BoxTransformLinear:
    """Distances from the centre of the source box to the four sides of the target.

    Args:
        normalize_by_size: divide the distances by width and height of the source box.

    Source: Tian 2019, arXiv:1904.01355.
    """

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Find the distances to left, top, right and bottom.

        Args:
            src_boxes: (R, 4) float, xyxy in pixels, width and height > 0.
            target_boxes: (R, 4) float, xyxy in pixels; should hold the source's centre.

        Returns:
            (R, 4) float; negative where the centre is outside the target.
        """
        size, centre = _sizes_and_centres(src_boxes)
        distances = torch.cat((centre - target_boxes[:, :2], target_boxes[:, 2:] - centre), dim=1)
        return distances / size.repeat(1, 2) if self.normalize_by_size else distances

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Put the sides at the predicted distances; negative ones count as 0.

        Args:
            deltas: (R, 4 * K) float, left, top, right, bottom of each of K predictions.
            boxes: (R, 4) float, xyxy in pixels.

        Returns:
            (R, 4 * K) float32, xyxy in pixels, not clipped to the image.

        Raises:
            ArgumentError: if the two first axes differ.
        """
        _check_lengths(deltas, boxes)
        distances_RK4 = F.relu(deltas.float()).unflatten(1, (-1, 4))
        size, centre = (x[:, None] for x in _sizes_and_centres(boxes.to(distances_RK4.dtype)))
        if self.normalize_by_size:
            distances_RK4 = distances_RK4 * size.repeat(1, 1, 2)
        low = centre - distances_RK4[..., :2]
        high = centre + distances_RK4[..., 2:]
        return torch.cat((low, high), dim=-1).reshape(deltas.shape)


class Box2BoxTransformRotated:
    """`Box2BoxTransform` for rotated boxes (centre, size, angle), with the turn as fifth delta.

    Args:
        weights: factors of (dx, dy, dw, dh, da); da is in radians.
        scale_clamp: upper bound of dw and dh.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = _DEFAULT_SCALE_CLAMP) -> None:
        self.weights = weights
        self.scale_clamp = scale_clamp

    @classmethod
    def from_option(cls, key: str, weights: Sequence[float]) -> "Box2BoxTransformRotated":
        """Make the transform from a key of the configuration and its value.

        Raises:
            ConfigError: for another number of weights than five.
        """
        if len(weights) != 5:
            raise ConfigError(
                f"{key}={list(weights)}: rotated boxes need five, for x, y, width, height and "
                "angle, such as [10, 10, 5, 5, 1]."
            )
        return cls(weights)

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Find the deltas that `apply_deltas` turns into the targets.

        Args:
            src_boxes: (R, 5) float, centre, size in pixels > 0, angle in degrees, anticlockwise.
            target_boxes: (R, 5) float, likewise.

        Returns:
            (R, 5) float, (dx, dy, dw, dh, da); the turn is the short way round.
        """
        shift = (target_boxes[:, :2] - src_boxes[:, :2]) / src_boxes[:, 2:4]
        scale = torch.log(target_boxes[:, 2:4] / src_boxes[:, 2:4])
        turn = torch.deg2rad(_short_way(target_boxes[:, 4:] - src_boxes[:, 4:]))
        factors = src_boxes.new_tensor(self.weights)
        return torch.cat((shift, scale, turn), dim=1) * factors

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Move, scale and turn boxes by predicted deltas.

        Args:
            deltas: (R, 5 * K) float.
            boxes: (R, 5) float, centre, size in pixels, angle in degrees.

        Returns:
            (R, 5 * K) float32 boxes, angles in [-180, 180).

        Raises:
            ArgumentError: if the two first axes differ.
        """
        _check_lengths(deltas, boxes)
        deltas_RK5 = deltas.float().unflatten(1, (-1, 5))
        boxes_R15 = boxes.to(deltas_RK5.dtype)[:, None]
        deltas_RK5 = deltas_RK5 / deltas_RK5.new_tensor(self.weights)
        size = boxes_R15[..., 2:4]
        centre = boxes_R15[..., :2] + size * deltas_RK5[..., :2]
        size = size * deltas_RK5[..., 2:4].clamp(max=self.scale_clamp).exp()
        angle = _short_way(boxes_R15[..., 4:] + torch.rad2deg(deltas_RK5[..., 4:]))
        return torch.cat((centre, size, angle), dim=-1).reshape(deltas.shape)


def _short_way(degrees: Tensor) -> Tensor:
    """The same turn in [-180, 180)."""
    return torch.remainder(degrees + 180.0, 360.0) - 180.0


# Of deltas, with the place where two pieces meet.
_DELTA_LOSSES = {"smooth_l1": smooth_l1_loss, "balanced_l1": balanced_l1_loss}
_BOX_LOSSES: dict[str, Callable[..., Tensor]] = {
    "iou": iou_loss,
    "bounded_iou": bounded_iou_loss,
    "giou": giou_loss,
    "diou": diou_loss,
    "ciou": ciou_loss,
    "eiou": eiou_loss,
    "rotated_iou": rotated_iou_loss,
}
# A name of the above, or a function of deltas and their targets that gives a sum.
BoxLoss = str | Callable[[Tensor, Tensor], Tensor]


def box_regression_loss(
    boxes: Tensor,
    box2box_transform: Box2BoxTransform | Box2BoxTransformLinear | Box2BoxTransformRotated,
    pred_deltas: Tensor,
    gt_boxes: Tensor,
    box_reg_loss_type: BoxLoss = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """The summed loss of predicted deltas whose ground truth is known.

    Args:
        boxes: (P, 4) or (P, 5) float, the boxes that the deltas refer to.
        box2box_transform: turns deltas to boxes and back.
        pred_deltas: (P, 4) or (P, 5) float.
        gt_boxes: the same shape as `boxes`.
        box_reg_loss_type: "smooth_l1", "balanced_l1" and a function compare deltas; "iou",
            "bounded_iou", "giou", "diou", "ciou" and "eiou" compare boxes; "rotated_iou" compares
            rotated ones.
        smooth_l1_beta: where smooth or balanced L1 turns linear.

    Returns:
        scalar; 0 and still differentiable for P = 0.

    Raises:
        ConfigError: for an unknown type.
    """
    # Sums of a half-precision loss overflow or lose their last digits.
    pred_deltas = pred_deltas.float()
    if not isinstance(box_reg_loss_type, str):
        return box_reg_loss_type(pred_deltas, box2box_transform.get_deltas(boxes, gt_boxes))
    if box_reg_loss_type in _DELTA_LOSSES:
        target = box2box_transform.get_deltas(boxes, gt_boxes)
        compare = _DELTA_LOSSES[box_reg_loss_type]
        return compare(pred_deltas, target, smooth_l1_beta, reduction="sum")
    if box_reg_loss_type not in _BOX_LOSSES:
        raise ConfigError(
            f"BBOX_REG_LOSS_TYPE={box_reg_loss_type!r}: use one of "
            f"{[*_DELTA_LOSSES, *_BOX_LOSSES]}."
        )
    if (box_reg_loss_type == "rotated_iou") != (boxes.shape[1] == 5):
        raise ConfigError(
            f"BBOX_REG_LOSS_TYPE={box_reg_loss_type!r} does not fit boxes of {boxes.shape[1]} "
            'numbers; "rotated_iou" is the loss of rotated ones.'
        )
    pred_boxes = box2box_transform.apply_deltas(pred_deltas, boxes)
    return _BOX_LOSSES[box_reg_loss_type](pred_boxes, gt_boxes, reduction="sum")


def _dense_box_regression_loss(
    anchors: Sequence[Boxes | Tensor],
    box2box_transform: Box2BoxTransform | Box2BoxTransformLinear | Box2BoxTransformRotated,
    pred_anchor_deltas: Sequence[Tensor],
    gt_boxes: Sequence[Tensor],
    fg_mask: Tensor,
    box_reg_loss_type: BoxLoss = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """The summed box loss of the foreground anchors of all levels and images.

    Args:
        anchors: one `Boxes` a level, of Ri boxes; R is their sum.
        box2box_transform: turns deltas to boxes and back.
        pred_anchor_deltas: one (N, Ri, 4) a level.
        gt_boxes: one (R, 4) an image, the box that each anchor should give.
        fg_mask: (N, R) bool, where the loss is computed.
        box_reg_loss_type: see `box_regression_loss`.
        smooth_l1_beta: see `box_regression_loss`.

    Returns:
        scalar.
    """
    anchors_R4 = cat([a if isinstance(a, Tensor) else a.tensor for a in anchors])
    # Only the foreground is decoded: it is one anchor in hundreds, and the ground truth of the
    # others may be an invalid box.
    image, position = fg_mask.nonzero(as_tuple=True)
    return box_regression_loss(
        anchors_R4[position],
        box2box_transform,
        cat(list(pred_anchor_deltas), dim=1)[image, position],
        torch.stack(list(gt_boxes))[image, position],
        box_reg_loss_type,
        smooth_l1_beta,
    )
