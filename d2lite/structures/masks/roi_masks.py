"""ROIMasks: one small map an object, to be stretched over the object's box.

N objects, M x M cells a map, H x W pixels of the image.
"""

from typing import Any

import torch
from torch import Tensor

from ...layers.mask_ops import paste_masks_in_image
from ..boxes import Boxes
from .bit_masks import BitMasks


class ROIMasks:
    """The masks of N objects as probabilities within their boxes.

    Attributes:
        tensor: (N, M, M) float in [0, 1].
    """

    def __init__(self, tensor: Tensor) -> None:
        """Wrap maps.

        Args:
            tensor: (N, M, M).

        Raises:
            ValueError: if it has not three axes.
        """
        if tensor.dim() != 3:
            raise ValueError(f"ROIMasks got shape {tuple(tensor.shape)}; give (N, M, M).")
        self.tensor = tensor

    def to(self, device: torch.device | str) -> "ROIMasks":
        """The same maps on another device."""
        return ROIMasks(self.tensor.to(device))

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def __len__(self) -> int:
        """How many objects there are."""
        return int(self.tensor.shape[0])

    def __getitem__(self, item: Any) -> "ROIMasks":
        """Pick objects by an integer (one object), a slice, a bool mask or indices.

        Raises:
            ValueError: if what is picked are not whole maps.
        """
        picked = self.tensor[item]
        if isinstance(item, int):
            picked = picked[None]
        if picked.dim() != 3:
            raise ValueError(
                f"ROIMasks[{item!r}] picks a shape of {tuple(picked.shape)}; pick whole maps."
            )
        return ROIMasks(picked)

    def __repr__(self) -> str:
        """How many there are."""
        return f"ROIMasks(num_instances={len(self)})"

    def to_bitmasks(
        self, boxes: Tensor | Boxes, height: int, width: int, threshold: float = 0.5
    ) -> BitMasks:
        """Paste the maps into an image.

        Args:
            boxes: (N, 4) xyxy in pixels, or `Boxes`.
            height: H of the image.
            width: W of the image.
            threshold: pixels of at least this probability are set, in [0, 1].

        Returns:
            N masks of H x W.
        """
        return BitMasks(paste_masks_in_image(self.tensor, boxes, (height, width), threshold))

    @staticmethod
    def cat(roi_masks_list: "list[ROIMasks]") -> "ROIMasks":
        """All objects of a list in one."""
        return ROIMasks(torch.cat([masks.tensor for masks in roi_masks_list]))
