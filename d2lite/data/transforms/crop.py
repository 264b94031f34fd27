"""Augmentations that cut a part out of the image."""

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import NoOpTransform, Transform, TransformList

from d2lite.utils.errors import ConfigError

from .augmentation import Augmentation
from .geometric import CropTransform, PadTransform

_CROP_TYPES = ("relative", "relative_range", "absolute", "absolute_range")


class RandomCrop(Augmentation):
    """Cut a rectangle out at a random place."""

    def __init__(self, crop_type: str, crop_size: tuple[float, float]) -> None:
        """Store how the size is found.

        Args:
            crop_type: what `crop_size`, (height, width), says:
                "relative": shares of the image, in (0, 1];
                "relative_range": least shares; each is drawn between it and 1;
                "absolute": pixels, cut down to the image;
                "absolute_range": two numbers (least, greatest); height and width are each drawn
                between them, cut down to the image.
            crop_size: two numbers.

        Raises:
            ConfigError: for another type.
        """
        super().__init__()
        if crop_type not in _CROP_TYPES:
            raise ConfigError(
                f"Unknown crop type {crop_type!r}; known are {', '.join(_CROP_TYPES)} "
                "(INPUT.CROP.TYPE)."
            )
        self.crop_type = crop_type
        self.crop_size = crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a crop for a (H, W, ...) image."""
        h, w = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((h, w))
        y0 = np.random.randint(h - crop_h + 1)
        x0 = np.random.randint(w - crop_w + 1)
        return CropTransform(int(x0), int(y0), crop_w, crop_h, orig_w=w, orig_h=h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Draw the size of the crop.

        Args:
            image_size: height and width.

        Returns:
            Height and width in pixels, from 1 to the image's.

        Raises:
            ConfigError: for a range whose least size is greater than its greatest, and for shares
                that are not in (0, 1].
        """
        first, second = self.crop_size
        if self.crop_type.startswith("relative") and not (0 < first <= 1 and 0 < second <= 1):
            raise ConfigError(
                f"The crop size {tuple(self.crop_size)} is not a share of an image; both numbers "
                "of a relative crop are in (0, 1] (INPUT.CROP.SIZE)."
            )
        limit = np.asarray(image_size)
        size: Sequence[int] | np.ndarray
        if self.crop_type == "absolute_range":
            if self.crop_size[0] > self.crop_size[1]:
                raise ConfigError(
                    f"The crop size range is {tuple(self.crop_size)}; absolute_range needs "
                    "(least, greatest) (INPUT.CROP.SIZE)."
                )
            least, greatest = (np.minimum(limit, size) for size in self.crop_size)
            size = [np.random.randint(lo, hi + 1) for lo, hi in zip(least, greatest, strict=True)]
        elif self.crop_type == "absolute":
            size = np.minimum(limit, self.crop_size)
        else:
            share = np.asarray(self.crop_size, dtype=np.float64)
            if self.crop_type == "relative_range":
                share = share + np.random.rand(2) * (1 - share)
            size = np.floor(limit * share + 0.5)
        crop_h, crop_w = np.clip(np.asarray(size, dtype=np.int64), 1, limit)
        return int(crop_h), int(crop_w)


class RandomCrop_CategoryAreaConstraint(Augmentation):
    """A random crop in which no single class fills too much."""

    # How many crops are tried; after that the last one is taken as it is.
    num_trials = 10

    def __init__(
        self,
        crop_type: str,
        crop_size: tuple[float, float],
        single_category_max_area: float = 1.0,
        ignored_category: int | None = None,
    ) -> None:
        """Store the limit.

        Args:
            crop_type: as in `RandomCrop`.
            crop_size: as in `RandomCrop`.
            single_category_max_area: greatest share of the labelled pixels that one class may
                have; 1 switches the check off.
            ignored_category: value of unlabelled pixels, which are not counted.
        """
        super().__init__()
        self.crop_type, self.crop_size = crop_type, crop_size
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self.single_category_max_area = single_category_max_area
        self.ignored_category = ignored_category

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """Draw a crop for a (H, W, ...) image and its (H, W) classes."""
        crop = self.crop_aug.get_transform(image)
        if self.single_category_max_area >= 1.0:
            return crop
        for _ in range(self.num_trials - 1):
            if self._is_mixed(crop.apply_segmentation(sem_seg)):
                break
            crop = self.crop_aug.get_transform(image)
        return crop

    def _is_mixed(self, sem_seg: np.ndarray) -> bool:
        if self.ignored_category is not None:
            sem_seg = sem_seg[sem_seg != self.ignored_category]
        _, counts = np.unique(sem_seg, return_counts=True)
        return len(counts) > 1 and counts.max() < sem_seg.size * self.single_category_max_area


class FixedSizeCrop(Augmentation):
    """Make every image the same size: cut what is too large, pad what is too small."""

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        """Store the size.

        Args:
            crop_size: height and width, pixels.
            pad: pad smaller images on the right and bottom; otherwise they stay smaller.
            pad_value: grey level of the padding.
            seg_pad_value: class of the padding.
        """
        super().__init__()
        self.crop_size, self.pad = crop_size, pad
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def get_transform(self, image: np.ndarray) -> TransformList:
        """Draw the place of the crop for a (H, W, ...) image."""
        size = np.array(image.shape[:2])
        kept = np.minimum(size, self.crop_size)
        # One draw for both axes, as the reference has it: crops are along a diagonal.
        y0, x0 = np.round((size - kept) * np.random.uniform()).astype(int).tolist()
        (h, w), (kept_h, kept_w) = size.tolist(), kept.tolist()
        steps: list[Transform] = [CropTransform(x0, y0, kept_w, kept_h, orig_w=w, orig_h=h)]
        if self.pad:
            below, beside = (np.array(self.crop_size) - kept).tolist()
            steps.append(
                PadTransform(
                    0, 0, beside, below, kept_w, kept_h, self.pad_value, self.seg_pad_value
                )
            )
        return TransformList(steps)


class MinIoURandomCrop(Augmentation):
    """SSD's crop: in each try every box has to overlap the crop by a drawn least IoU.

    Source: Liu 2016, SSD, section 2.2 (data augmentation).
    """

    def __init__(
        self,
        min_ious: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size: float = 0.3,
        mode_trials: int = 1000,
        crop_trials: int = 50,
    ) -> None:
        """Store the limits.

        Args:
            min_ious: one of these, 0 (any crop) or 1 (no crop) is drawn as the least IoU.
            min_crop_size: least share of the image's height and width.
            mode_trials: how many least IoUs are drawn before giving up.
            crop_trials: how many crops are tried for each.
        """
        super().__init__()
        self.min_ious, self.min_crop_size = min_ious, min_crop_size
        self.mode_trials, self.crop_trials = mode_trials, crop_trials

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None) -> Transform:
        """Draw a crop for a (H, W, ...) image and its (N, 4) xyxy boxes (None: no crop)."""
        if boxes is None:
            return NoOpTransform()
        h, w = image.shape[:2]
        choices = (1.0, *self.min_ious, 0.0)
        for _ in range(self.mode_trials):
            min_iou = choices[np.random.randint(len(choices))]
            if min_iou == 1:
                break
            crops = self._draw_crops(h, w)
            fitting = crops[_fits(crops, np.asarray(boxes, dtype=np.float64), min_iou)]
            if len(fitting):
                x0, y0, x1, y1 = fitting[0].tolist()
                return CropTransform(x0, y0, x1 - x0, y1 - y0, orig_w=w, orig_h=h)
        # DIFFERS: also when nothing was found; the reference then returns no transform at all.
        return NoOpTransform()

    def _draw_crops(self, h: int, w: int) -> np.ndarray:
        """(crop_trials or fewer, 4) int crops, xyxy, none narrower than 1:2 or wider than 2:1."""
        shape = np.array([w, h])
        size = np.random.uniform(self.min_crop_size, 1, (self.crop_trials, 2)) * shape
        corner = np.random.uniform(size=(self.crop_trials, 2)) * (shape - size)
        ratio = size[:, 1] / size[:, 0]
        crops = np.concatenate([corner, corner + size], axis=1).astype(np.int64)
        is_whole = (crops[:, 2:] > crops[:, :2]).all(axis=1)
        return crops[is_whole & (ratio >= 0.5) & (ratio <= 2)]


def _fits(crops_C4: np.ndarray, boxes_N4: np.ndarray, min_iou: float) -> np.ndarray:
    """(C,) bool: which crops overlap every box by the least IoU and hold a box's middle."""
    if len(boxes_N4) == 0:
        return np.ones(len(crops_C4), dtype=bool)
    crops, boxes = crops_C4[:, None], boxes_N4[None]
    overlap = np.minimum(crops[..., 2:], boxes[..., 2:]) - np.maximum(
        crops[..., :2], boxes[..., :2]
    )
    intersection = overlap.clip(min=0).prod(axis=2)
    areas = [(b[..., 2:] - b[..., :2]).prod(axis=2) for b in (crops, boxes)]
    iou = intersection / (areas[0] + areas[1] - intersection)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    holds = ((middle > crops[..., :2]) & (middle < crops[..., 2:])).all(axis=2)
    return (iou.min(axis=1) >= min_iou) & holds.any(axis=1)
