"""Mosaic: four images that meet in a point.

Source: Bochkovskiy 2020, YOLOv4, arXiv:2004.10934, section 3.3.
"""

from collections.abc import Sequence

import numpy as np

from d2lite.data import transforms as T

from .labelled_image import LabelledImage
from .mixing import DrawPartner, MixingAugmentation


class Mosaic(MixingAugmentation):
    """Lay the image and three others around a point, each cut where its quarter ends.

    Every image is resized so that it fits into the result, times a drawn factor, and one of its
    corners is at the point. What no image covers is grey.
    """

    def __init__(
        self,
        size: Sequence[int] = (640, 640),
        scale: Sequence[float] = (0.4, 1.0),
        centre: Sequence[float] = (0.25, 0.75),
        min_visible: float = 0.1,
        fill: float = 114.0,
        prob: float = 1.0,
    ) -> None:
        """Store the sizes.

        Args:
            size: height and width of the result, pixels.
            scale: least and greatest factor, above 0; at 1 an image would just fit alone.
            centre: least and greatest place of the point, as shares of height and width.
            min_visible: objects are dropped of whose box a smaller share is left.
            fill: grey level of what no image covers.
            prob: how often it is done.

        Raises:
            ValueError: for a range that runs backwards or leaves its bounds.
        """
        super().__init__(prob)
        if min(size) < 2:
            raise ValueError(f"size is {tuple(size)}; give a height and a width of 2 at least.")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {tuple(scale)}; give least and greatest, above 0.")
        if not 0 <= centre[0] <= centre[1] <= 1:
            raise ValueError(f"centre is {tuple(centre)}; give least and greatest, from 0 to 1.")
        self.size, self.scale = (size[0], size[1]), (scale[0], scale[1])
        self.centre = (centre[0], centre[1])
        self.min_visible, self.fill = min_visible, fill

    def mix(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """The mosaic."""
        height, width = self.size
        shares = np.random.uniform(*self.centre, size=2)
        y, x = np.clip(np.rint(shares * self.size), 1, np.array(self.size) - 1).astype(int).tolist()
        canvas = labelled.blank(self.size, self.fill, with_labels=labelled.sem_seg is not None)
        # Left and right, above and below: which side of the point each quarter is on.
        places = [(0, 0), (1, 0), (0, 1), (1, 1)]
        for count, place in enumerate(np.random.permutation(4).tolist()):
            right, below = places[place]
            room = (height - y if below else y, width - x if right else x)
            tile = self._tile(labelled if count == 0 else draw_partner(), room, (right, below))
            h, w = tile.size
            canvas.lay(tile, x if right else x - w, y if below else y - h)
        return canvas

    def _tile(
        self, labelled: LabelledImage, room: tuple[int, int], place: tuple[int, int]
    ) -> LabelledImage:
        """The part of an image, resized, that is seen in a quarter.

        Args:
            labelled: any size.
            room: height and width of the quarter.
            place: whether it lies to the right of the point, and below it.
        """
        size = np.array(labelled.size)
        factor = (np.array(self.size) / size).min() * np.random.uniform(*self.scale)
        h, w = np.maximum(np.rint(size * factor), 1).astype(int).tolist()
        kept_h, kept_w = min(h, room[0]), min(w, room[1])
        right, below = place
        x0, y0 = (0 if right else w - kept_w), (0 if below else h - kept_h)
        steps = [
            T.ResizeTransform(*labelled.size, h, w),
            T.CropTransform(x0, y0, kept_w, kept_h, orig_w=w, orig_h=h),
        ]
        return labelled.transformed(T.TransformList(steps), self.min_visible)
