"""CopyPaste: objects of another image, cut out by their masks and laid over this one.

Source: Ghiasi 2021, Simple Copy-Paste, arXiv:2012.07177.
"""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from d2lite.data.annotations import get_bbox

from .labelled_image import LabelledImage, with_mask
from .mixing import DrawPartner, MixingAugmentation, fit_into


class CopyPaste(MixingAugmentation):
    """Paste some objects of another image, and take from the objects below what they hide.

    The other image is cut to this one's size, or lies somewhere inside. Objects without a mask
    are not pasted.
    """

    needs_masks = True
    makes_bitmaps = True

    def __init__(
        self,
        share: float = 0.5,
        min_visible: float = 0.1,
        edge_blur: float = 0.0,
        prob: float = 0.5,
    ) -> None:
        """Store how much is pasted.

        Args:
            share: probability with which each object of the other image is pasted.
            min_visible: objects below are dropped of which a smaller share is still to be seen.
            edge_blur: standard deviation in pixels by which the cut edge is softened; 0: sharp.
            prob: how often it is done.

        Raises:
            ValueError: for a share outside [0, 1] or a negative blur.
        """
        super().__init__(prob)
        for name, value in {"share": share, "min_visible": min_visible}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}; it is a share, from 0 to 1.")
        if edge_blur < 0:
            raise ValueError(f"edge_blur={edge_blur}; it must be 0 or more.")
        self.share, self.min_visible, self.edge_blur = share, min_visible, edge_blur

    def mix(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """This image with the pasted objects."""
        part, x0, y0 = fit_into(draw_partner(), labelled.size)
        layer = labelled.blank(labelled.size, 0, with_labels=labelled.sem_seg is not None)
        layer.lay(part, x0, y0)
        pasted, cut = [], np.zeros(labelled.size, dtype=bool)
        for anno in layer.annotations:
            mask = layer.mask_of(anno)
            if np.random.uniform() < self.share and mask is not None and mask.any():
                pasted.append(anno)
                cut |= mask
        if not pasted:
            return labelled
        labels = labelled.sem_seg
        if labels is not None and layer.sem_seg is not None:
            labels = np.where(cut, layer.sem_seg, labels)
        kept = [self._hidden_by(cut, labelled, anno) for anno in labelled.annotations]
        return replace(
            labelled,
            image=self._blend(labelled.image, layer.image, cut),
            sem_seg=labels,
            annotations=[anno for anno in kept if anno is not None] + pasted,
        )

    def _blend(self, below: np.ndarray, above: np.ndarray, cut: np.ndarray) -> np.ndarray:
        if self.edge_blur == 0:
            return np.where(cut.reshape(*cut.shape, *(1,) * (below.ndim - 2)), above, below)
        weight = cv2.GaussianBlur(cut.astype(np.float32), (0, 0), self.edge_blur)
        weight = weight.reshape(*cut.shape, *(1,) * (below.ndim - 2))
        mixed = above * weight + below * (1 - weight)
        if np.issubdtype(below.dtype, np.integer):
            mixed = np.rint(mixed)
        return mixed.astype(below.dtype)

    def _hidden_by(
        self, cut: np.ndarray, labelled: LabelledImage, anno: dict[str, Any]
    ) -> dict[str, Any] | None:
        """An object below what was pasted: as it is, with what is left of it, or gone."""
        mask = labelled.mask_of(anno)
        if mask is None:
            # Only the box is known: it stays as long as enough of it is free.
            height, width = cut.shape
            x0, y0, x1, y1 = np.clip(get_bbox(anno).round(), 0, [width, height] * 2).astype(int)
            hidden = cut[y0:y1, x0:x1]
            is_left = hidden.size == 0 or 1 - hidden.mean() >= self.min_visible
            return _points_behind(cut, anno) if is_left else None
        left = mask & ~cut
        count = int(left.sum())
        if count == int(mask.sum()):
            return _points_behind(cut, anno)
        if count == 0 or count < self.min_visible * mask.sum():
            return None
        return _points_behind(cut, with_mask(anno, left))


def _points_behind(cut: np.ndarray, anno: dict[str, Any]) -> dict[str, Any]:
    """An annotation whose visible keypoints are marked as hidden where something was pasted."""
    if "keypoints" not in anno:
        return anno
    points = np.array(anno["keypoints"], dtype=np.float64).reshape(-1, 3)
    height, width = cut.shape
    columns = points[:, 0].astype(int).clip(0, width - 1)
    rows = points[:, 1].astype(int).clip(0, height - 1)
    points[(points[:, 2] == 2) & cut[rows, columns], 2] = 1
    return {**anno, "keypoints": points}
