"""The published mappers: samples whose objects are things, segments or classes of pixels.

H x W pixels of the sample, T objects.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.data import DatasetMapper
from d2lite.data import transforms as T
from d2lite.data.augmenting import build_augmentation, semantic_augmentations
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.images.image_io import check_image_size, read_image
from d2lite.structures import BitMasks, Instances
from d2lite.utils.errors import ConfigError, DataError

Augmentations = Sequence[T.Augmentation | T.Transform]

_GREY = 128
# Segments are numbered from here in the maps that are augmented: padding there is 255.
_FIRST_SEGMENT = 256


class MaskFormerSemanticDatasetMapper(DatasetMapper):
    """An object for each class that the map of an image has.

    Args:
        is_train: see `DatasetMapper`.
        augmentations: applied in order.
        image_format: see `read_image`.
        ignore_label: the class of pixels that have none.
        size_divisibility: smaller samples are padded to a square of this side; -1 for not.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Augmentations,
        image_format: str,
        ignore_label: int = 255,
        size_divisibility: int,
    ) -> None:
        super().__init__(
            is_train,
            augmentations=augmentations,
            image_format=image_format,
            ignore_value=ignore_label,
        )
        self.size_divisibility = size_divisibility

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments from `INPUT` and `MODEL.SEM_SEG_HEAD.IGNORE_VALUE`."""
        return {
            "is_train": is_train,
            "augmentations": semantic_augmentations(cfg),
            "image_format": cfg.INPUT.FORMAT,
            "ignore_label": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Make a sample.

        Args:
            dataset_dict: one image, with sem_seg_file_name.

        Returns:
            see `DatasetMapper`; instances have gt_classes and gt_masks ((T, H, W) bool).

        Raises:
            DataError: if the image has no map of classes.
        """
        _require(dataset_dict, "sem_seg_file_name", "mask_former_semantic")
        things = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        sample = super().__call__(things)
        labels = _padded(sample["sem_seg"], self.size_divisibility, self.ignore_value)
        sample["image"] = _padded(sample["image"], self.size_divisibility, _GREY)
        sample["sem_seg"] = labels
        classes = labels.unique()
        classes = classes[classes != self.ignore_value]
        sample["instances"] = _instances(classes, labels == classes[:, None, None])
        return sample


class MaskFormerPanopticDatasetMapper(MaskFormerSemanticDatasetMapper):
    """An object for each segment of an image that is not a group of objects.

    Args:
        **kwargs: see `MaskFormerSemanticDatasetMapper`.
    """

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Make a sample.

        Args:
            dataset_dict: one image, with pan_seg_file_name and segments_info.

        Returns:
            the dict's other entries, image and instances. What a crop cuts off whole is left out.

        Raises:
            DataError: if the image has no map of segments.
        """
        _require(dataset_dict, "pan_seg_file_name", "a panoptic one")
        image = read_image(dataset_dict["file_name"], format=self.image_format)
        check_image_size(dataset_dict, image)
        segments = [s for s in dataset_dict["segments_info"] if not s.get("iscrowd", 0)]
        numbers = rgb_to_segment_ids(read_image(dataset_dict["pan_seg_file_name"], format="RGB"))
        seen = T.AugInput(image, sem_seg=_renumbered(numbers, [s["id"] for s in segments]))
        self.augmentations(seen)
        planes = np.ascontiguousarray(np.atleast_3d(seen.image).transpose(2, 0, 1))
        where = _padded(torch.from_numpy(seen.sem_seg.copy()), self.size_divisibility, 0)
        rows = torch.arange(len(segments)) + _FIRST_SEGMENT
        classes = torch.tensor([s["category_id"] for s in segments], dtype=torch.int64)
        sample = {key: value for key, value in dataset_dict.items() if key not in _UNUSED}
        return {
            **sample,
            "image": _padded(torch.from_numpy(planes), self.size_divisibility, _GREY),
            "instances": _instances(classes, where == rows[:, None, None]),
        }


_UNUSED = ("annotations", "pan_seg_file_name", "sem_seg_file_name")


class MaskFormerInstanceDatasetMapper(DatasetMapper):
    """The annotated objects of an image, with bitmaps.

    Args:
        is_train: see `DatasetMapper`.
        augmentations: applied in order.
        image_format: see `read_image`.
        size_divisibility: see `MaskFormerSemanticDatasetMapper`.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Augmentations,
        image_format: str,
        size_divisibility: int,
    ) -> None:
        super().__init__(
            is_train,
            augmentations=augmentations,
            image_format=image_format,
            use_instance_mask=True,
            instance_mask_format="bitmask",
            recompute_boxes=True,
        )
        self.size_divisibility = size_divisibility

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments from `INPUT`."""
        steps = [
            # There is no map of classes that could limit the crop.
            T.RandomCrop(step.crop_type, step.crop_size)
            if isinstance(step, T.RandomCrop_CategoryAreaConstraint)
            else step
            for step in semantic_augmentations(cfg)
        ]
        return {
            "is_train": is_train,
            "augmentations": steps,
            "image_format": cfg.INPUT.FORMAT,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Make a sample.

        Args:
            dataset_dict: one image, with annotations.

        Returns:
            see `DatasetMapper`; gt_masks is a (T, H, W) bool tensor. What a crop cuts off whole
            is left out.

        Raises:
            DataError: if the image has no list of annotations.
        """
        _require(dataset_dict, "annotations", "an instance one")
        sample = super().__call__(dataset_dict)
        sample["image"] = _padded(sample["image"], self.size_divisibility, _GREY)
        found = sample["instances"]
        height, width = sample["image"].shape[-2:]
        masks = torch.zeros((len(found), height, width), dtype=torch.bool)
        if found.has("gt_masks"):
            seen = found.gt_masks.tensor
            masks[:, : seen.shape[1], : seen.shape[2]] = seen
        sample["instances"] = _instances(found.gt_classes, masks)
        return sample


class _JitterMapper(DatasetMapper):
    """What both mappers with large-scale jitter add to the mappers that they are made of."""

    @configurable
    def __init__(
        self, is_train: bool = True, *, tfm_gens: Augmentations, image_format: str
    ) -> None:
        super().__init__(
            is_train, augmentations=tfm_gens, image_format=image_format, size_divisibility=-1
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments from `INPUT`: flip, scale by a random factor, cut or pad to a square.

        INPUT.AUGMENTATIONS take the place of these steps.
        """
        node = cfg.INPUT
        steps = build_augmentation(cfg, True)
        if not len(node.AUGMENTATIONS):
            side = node.IMAGE_SIZE
            steps = [step for step in steps if isinstance(step, T.RandomFlip)]
            steps.append(T.ResizeScale(node.MIN_SCALE, node.MAX_SCALE, side, side))
            steps.append(T.FixedSizeCrop((side, side)))
        return {"is_train": is_train, "tfm_gens": steps, "image_format": node.FORMAT}


class COCOInstanceNewBaselineDatasetMapper(_JitterMapper, MaskFormerInstanceDatasetMapper):
    """The annotated objects under large-scale jitter.

    Args:
        is_train: see `DatasetMapper`.
        tfm_gens: applied in order.
        image_format: see `read_image`.
    """


class COCOPanopticNewBaselineDatasetMapper(_JitterMapper, MaskFormerPanopticDatasetMapper):
    """The segments under large-scale jitter.

    Args:
        is_train: see `DatasetMapper`.
        tfm_gens: applied in order.
        image_format: see `read_image`.
    """


_MAPPERS: dict[str, type[DatasetMapper]] = {
    "mask_former_semantic": MaskFormerSemanticDatasetMapper,
    "mask_former_panoptic": MaskFormerPanopticDatasetMapper,
    "mask_former_instance": MaskFormerInstanceDatasetMapper,
    "coco_instance_lsj": COCOInstanceNewBaselineDatasetMapper,
    "coco_panoptic_lsj": COCOPanopticNewBaselineDatasetMapper,
}


def build_train_mapper(cfg: CfgNode) -> DatasetMapper | None:
    """The mapper that INPUT.DATASET_MAPPER_NAME names; None for other models.

    Args:
        cfg: the whole config.

    Raises:
        ConfigError: for an unknown name.
    """
    if cfg.MODEL.META_ARCHITECTURE not in ("MaskFormer", "EoMT"):
        return None
    name = cfg.INPUT.DATASET_MAPPER_NAME
    if name not in _MAPPERS:
        raise ConfigError(
            f"INPUT.DATASET_MAPPER_NAME is {name!r}; choose one of {', '.join(_MAPPERS)}."
        )
    return _MAPPERS[name](cfg, True)


def _require(dataset_dict: dict[str, Any], key: str, fitting: str) -> None:
    if key not in dataset_dict:
        raise DataError(
            f"{dataset_dict.get('file_name', 'An image')} has no {key}, which the mapper of "
            f"INPUT.DATASET_MAPPER_NAME ({fitting}) needs. Choose the mapper that fits the set in "
            f"DATASETS.TRAIN: one of {', '.join(_MAPPERS)}."
        )


def _renumbered(numbers: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """(H, W) int32: `_FIRST_SEGMENT` + the place in `ids`, 0 for others."""
    known, where = np.unique(numbers, return_inverse=True)
    row_of = {number: row for row, number in enumerate(ids, start=_FIRST_SEGMENT)}
    rows = np.array([row_of.get(int(number), 0) for number in known], dtype=np.int32)
    return rows[where.reshape(numbers.shape)]


def _padded(maps: Tensor, side: int, value: int) -> Tensor:
    """(..., H, W) padded to `side` right and below, where it is smaller."""
    below, beside = (max(side - own, 0) for own in maps.shape[-2:])
    return F.pad(maps, (0, beside, 0, below), value=value) if below or beside else maps


def _instances(classes: Tensor, masks: Tensor) -> Instances:
    """The objects that have a pixel, with the boxes of their masks."""
    is_seen = masks.flatten(1).any(dim=1)
    masks = masks[is_seen]
    return Instances(
        (masks.shape[1], masks.shape[2]),
        gt_classes=classes[is_seen],
        gt_masks=masks,
        gt_boxes=BitMasks(masks).get_bounding_boxes(),
    )
