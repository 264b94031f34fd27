"""BitMasks: the masks of objects as bitmaps of the image's size.

N objects, H x W pixels of the image.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2lite.utils.errors import ArgumentError

from ...layers.mask_ops import paste_masks_in_image
from ...layers.roi_align import roi_align
from ...layers.wrappers import cat
from ..boxes import Boxes
from .polygons import draw_polygons

if TYPE_CHECKING:
    from .polygon_masks import PolygonMasks


class _Maps(Protocol):
    """What `ROIMasks` has; naming the class itself here would make the imports circular."""

    tensor: Tensor


class BitMasks:
    """The masks of N objects of one image.

    Attributes:
        tensor: (N, H, W) bool.
        image_size: (H, W).
    """

    def __init__(self, tensor: Tensor | NDArray[Any] | Sequence[Any]) -> None:
        """Wrap bitmaps.

        Args:
            tensor: (N, H, W), or a list of (H, W); what is not 0 belongs to the object.

        Raises:
            ArgumentError: if it has not three axes.
        """
        if not isinstance(tensor, Tensor):
            # A copy, since torch takes neither flipped arrays nor, silently, read-only ones.
            tensor = torch.from_numpy(np.array(tensor, dtype=bool, order="C"))
        bits = tensor.to(torch.bool)
        if bits.dim() != 3:
            raise ArgumentError(f"BitMasks got shape {tuple(bits.shape)}; give (N, H, W).")
        self.tensor = bits
        self.image_size: tuple[int, int] = (int(bits.shape[1]), int(bits.shape[2]))

    def to(self, *args: Any, **kwargs: Any) -> "BitMasks":
        """The masks after `Tensor.to` with the same arguments; they stay bool."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def __len__(self) -> int:
        """How many objects there are."""
        return int(self.tensor.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        """Each mask as an (H, W) tensor."""
        return iter(self.tensor)

    def __getitem__(self, item: int | slice | Tensor) -> "BitMasks":
        """Pick objects by an integer (one object), a slice, a bool mask or indices.

        Raises:
            ArgumentError: if what is picked are not whole masks.
        """
        picked = self.tensor[item]
        if isinstance(item, int):
            picked = picked[None]
        if picked.dim() != 3:
            raise ArgumentError(
                f"BitMasks[{item!r}] picks a shape of {tuple(picked.shape)}; pick whole masks."
            )
        return BitMasks(picked)

    def __repr__(self) -> str:
        """How many there are."""
        return f"BitMasks(num_instances={len(self)})"

    def nonempty(self) -> Tensor:
        """(N,) bool: whether a mask has a pixel."""
        if not self.tensor.numel():
            return self.tensor.new_zeros(len(self))
        # As numbers: torch's `any` takes ten times as long on the CPU.
        return self.tensor.view(torch.uint8).flatten(1).amax(dim=1) > 0

    def get_bounding_boxes(self) -> Boxes:
        """The tight box of each mask; all zeros for one without a pixel."""
        if not self.tensor.numel():
            return Boxes(torch.zeros((len(self), 4), device=self.device))
        spans = [_span(self.tensor.view(torch.uint8).amax(dim=axis) > 0) for axis in (1, 2)]
        return Boxes(torch.stack([span[end] for end in (0, 1) for span in spans], dim=1))

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """What the boxes show of the masks, stretched to squares: the target of a mask head.

        Args:
            boxes: (N, 4) xyxy in pixels, one for each mask.
            mask_size: side of the result, in cells.

        Returns:
            (N, mask_size, mask_size) bool: cells that the object covers by half or more.

        Raises:
            ArgumentError: if there are not as many boxes as masks.
        """
        if len(boxes) != len(self):
            raise ArgumentError(
                f"{len(self)} masks got {len(boxes)} boxes; give one for each mask."
            )
        corners = boxes.to(device=self.device, dtype=torch.float32)
        owners = torch.arange(len(self), device=self.device, dtype=torch.float32)
        rois = torch.cat([owners[:, None], corners], dim=1)
        # Always in float32: half precision moves boxes by a quarter pixel at x = 500.
        with torch.autocast(self.device.type, enabled=False):
            shares: Tensor = roi_align(
                self.tensor[:, None].float(), rois, (mask_size, mask_size), 1.0, 0, aligned=True
            )
        return shares[:, 0] >= 0.5

    @staticmethod
    def from_polygon_masks(
        polygon_masks: "PolygonMasks | Sequence[Sequence[NDArray[Any]]]", height: int, width: int
    ) -> "BitMasks":
        """Draw polygons.

        Args:
            polygon_masks: N objects, as `PolygonMasks` or as their lists of polygons.
            height: H of the image.
            width: W of the image.
        """
        bits = np.zeros((len(polygon_masks), height, width), dtype=bool)
        for row, polygons in zip(bits, polygon_masks, strict=True):
            draw_polygons(row, polygons)
        return BitMasks(torch.from_numpy(bits))

    @staticmethod
    def of(masks: "BitMasks | PolygonMasks", height: int, width: int) -> "BitMasks":
        """Masks of either kind as bitmaps of an image of H x W pixels; see `from_polygon_masks`."""
        if isinstance(masks, BitMasks):
            return masks
        return BitMasks.from_polygon_masks(masks, height, width)

    @staticmethod
    def from_roi_masks(
        roi_masks: _Maps, height: int, width: int, boxes: "Tensor | Boxes | None" = None
    ) -> "BitMasks":
        """Paste maps over boxes into an image.

        Args:
            roi_masks: N maps, as `ROIMasks`.
            height: H of the image.
            width: W of the image.
            boxes: (N, 4) xyxy in pixels, or `Boxes`.

        Raises:
            ValueError: without boxes, since the maps have no places of their own.
        """
        # DIFFERS: detectron2 has no boxes here, and its method always fails for want of them.
        if boxes is None:
            raise ValueError("from_roi_masks got no boxes to paste the masks into; give boxes=.")
        return BitMasks(paste_masks_in_image(roi_masks.tensor, boxes, (height, width)))

    @staticmethod
    def cat(bitmasks_list: "Sequence[BitMasks]") -> "BitMasks":
        """All objects of a list in one.

        Raises:
            ValueError: if the list is empty.
        """
        return BitMasks(cat([masks.tensor for masks in bitmasks_list]))


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) first occupied entry and one past the last, both 0 where none is.

    Args:
        occupied: (N, L) bool.
    """
    count = occupied.shape[1]
    places = torch.arange(count, device=occupied.device)
    low = places.masked_fill(~occupied, count).amin(dim=1)
    high = (places + 1).masked_fill(~occupied, 0).amax(dim=1)
    return torch.minimum(low, high), high
