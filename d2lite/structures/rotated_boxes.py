"""RotatedBoxes: N boxes of one image, each rotated about its centre.

Pixel convention and letters as in `boxes`; angles are in degrees, counter-clockwise as seen on
the screen.
"""

import torch
from torch import Tensor

from ..layers.rotated_boxes import pairwise_iou_rotated
from .boxes import Boxes, pick_rows, read_boxes

__all__ = ["RotatedBoxes", "pairwise_iou"]


class RotatedBoxes(Boxes):
    """N rotated boxes as a float32 (N, 5) tensor.

    Width and height are the sides before the rotation.

    Attributes:
        tensor: (N, 5): centre x, centre y, width, height in pixels, angle.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Wrap boxes.

        Args:
            tensor: (N, 5) tensor, or anything that `torch.as_tensor` reads; N may be 0.

        Raises:
            ValueError: if the shape is another.
        """
        self.tensor = read_boxes(tensor, 5, "centre x, centre y, width, height, degrees")

    def _like(self, tensor: Tensor) -> "RotatedBoxes":
        return RotatedBoxes(tensor)

    # TorchScript compiles the methods of a class, but not those of its base.
    __len__ = Boxes.__len__

    def __getitem__(self, item: Tensor) -> "RotatedBoxes":
        """See `Boxes.__getitem__`."""
        return self._like(pick_rows(self.tensor, item))

    def to(self, device: torch.device, non_blocking: bool = False) -> "RotatedBoxes":
        """The same boxes on another device."""
        return self._like(self.tensor.to(device=device, non_blocking=non_blocking))

    @classmethod
    def cat(cls, boxes_list: list["RotatedBoxes"]) -> "RotatedBoxes":  # type: ignore[override]
        """All boxes of a list in one, copied; no boxes on the CPU for an empty list."""
        tensors = [boxes.tensor for boxes in boxes_list]
        return cls(torch.cat(tensors) if len(tensors) > 0 else torch.zeros(0))

    def area(self) -> Tensor:
        """(N,) float32 areas in square pixels."""
        return self.tensor[:, 2] * self.tensor[:, 3]

    def normalize_angles(self) -> None:
        """Bring the angles of these boxes into [-180, 180)."""
        angles = (self.tensor[:, 4:] + 180) % 360 - 180
        self.tensor = torch.cat([self.tensor[:, :4], angles], dim=1)

    def clip(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> None:
        """Cut the boxes that are nearly upright to an image.

        What a cut leaves of any other box is not a box, so those stay as they are. All angles
        are normalised.

        Args:
            box_size: (height, width) of the image.
            clip_angle_threshold: boxes rotated by at most this many degrees are cut.
        """
        self.normalize_angles()
        height, width = box_size
        upright = self.tensor[:, 4].abs() <= clip_angle_threshold
        centres, sizes = self.tensor[:, :2], self.tensor[:, 2:4]
        limit = torch.tensor([width, height], dtype=centres.dtype, device=centres.device)
        low = torch.minimum((centres - sizes / 2).clamp(min=0), limit)
        high = torch.minimum((centres + sizes / 2).clamp(min=0), limit)
        # A box that was inside must not grow by rounding.
        cut_sizes = torch.minimum(sizes, high - low)
        cut = torch.cat([(low + high) / 2, cut_sizes, self.tensor[:, 4:]], dim=1)
        self.tensor = torch.where(upright[:, None], cut, self.tensor)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: whether both sides are longer than `threshold` pixels."""
        return (self.tensor[:, 2:4] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: float = 0) -> Tensor:
        """Which boxes are inside an image with all four corners.

        Args:
            box_size: (height, width) of the image.
            boundary_threshold: by how many pixels a box may reach beyond it.

        Returns:
            (N,) bool.
        """
        height, width = box_size
        half = self._half_extent()
        low, high = self.tensor[:, :2] - half, self.tensor[:, :2] + half
        limit = torch.tensor([width, height], dtype=low.dtype, device=low.device)
        limit = limit + boundary_threshold
        return ((low >= -boundary_threshold) & (high < limit)).all(dim=1)

    def _half_extent(self) -> Tensor:
        """(N, 2) half width and half height of the upright boxes around."""
        angles = torch.deg2rad(self.tensor[:, 4:])
        cos, sin = angles.cos().abs(), angles.sin().abs()
        sizes = self.tensor[:, 2:4]
        return (sizes * cos + sizes.flip(1) * sin) / 2

    def get_centers(self) -> Tensor:
        """(N, 2) x, y of the centres."""
        return self.tensor[:, :2]

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Scale as the image is scaled: x by `scale_x`, y by `scale_y`.

        With unequal factors a rotated box becomes a parallelogram. The result is the box with the
        lengths of its sides and the angle of its vertical axis.
        """
        angles = torch.deg2rad(self.tensor[:, 4])
        cos, sin = angles.cos(), angles.sin()
        factors = torch.tensor([scale_x, scale_y], dtype=angles.dtype, device=angles.device)
        centres = self.tensor[:, :2] * factors
        width = self.tensor[:, 2] * torch.hypot(scale_x * cos, scale_y * sin)
        height = self.tensor[:, 3] * torch.hypot(scale_x * sin, scale_y * cos)
        turned = torch.rad2deg(torch.atan2(scale_x * sin, scale_y * cos))
        self.tensor = torch.cat([centres, torch.stack([width, height, turned], dim=1)], dim=1)


def pairwise_iou(boxes1: RotatedBoxes, boxes2: RotatedBoxes) -> Tensor:
    """(N, M) intersection over union of rotated boxes of two sets, in [0, 1]."""
    return pairwise_iou_rotated(boxes1.tensor, boxes2.tensor)
