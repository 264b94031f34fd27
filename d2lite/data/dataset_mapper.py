"""DatasetMapper: one dataset dict -> one model input; and the augmentations that cfg asks for."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from d2lite.config import configurable
from d2lite.structures import BitMasks, Keypoints, PolygonMasks
from d2lite.utils.errors import ConfigError, DataError

from . import transforms as T
from .annotations import (
    MASK_FORMATS,
    annotations_to_instances,
    filter_empty_instances,
    get_bbox,
    transform_instance_annotations,
    transform_proposals,
)
from .image_io import check_image_size, read_image
from .shared_metadata import create_keypoint_hflip_indices

__all__ = ["DatasetMapper", "build_augmentation", "build_transform_gen"]


def build_augmentation(cfg: Any, is_train: bool) -> list[T.Augmentation]:
    """The resize, and in training the flip and what INPUT.AUG has, that cfg.INPUT asks for.

    Args:
        cfg: the configuration.
        is_train: training or testing.

    Raises:
        ConfigError: for an unknown flip, or a key that we do not support.
    """
    options = cfg.INPUT
    if not is_train:
        return [T.ResizeShortestEdge(options.MIN_SIZE_TEST, options.MAX_SIZE_TEST, "choice")]
    if options.RANDOM_FLIP not in ("none", "horizontal", "vertical"):
        raise ConfigError(
            f"INPUT.RANDOM_FLIP is {options.RANDOM_FLIP!r}; choose one of horizontal, vertical, "
            "none."
        )
    augmentations: list[T.Augmentation] = []
    if options.AUG.MIN_IOU_CROP.ENABLED:
        crop = options.AUG.MIN_IOU_CROP
        augmentations.append(T.MinIoURandomCrop(tuple(crop.MIN_IOUS), crop.MIN_SIZE))
    jitter = options.AUG.LARGE_SCALE_JITTER
    if jitter.ENABLED:
        augmentations.append(T.ResizeScale(*jitter.SCALE, *jitter.SIZE))
    else:
        augmentations.append(
            T.ResizeShortestEdge(
                options.MIN_SIZE_TRAIN, options.MAX_SIZE_TRAIN, options.MIN_SIZE_TRAIN_SAMPLING
            )
        )
    if options.AUG.PHOTOMETRIC.ENABLED:
        # After resizing, since it costs by the pixel.
        augmentations.append(_photometric(cfg))
    if jitter.ENABLED:
        # Not padded here: the batch is, and boxes and keypoints that an earlier crop cut off would
        # come to lie in the padding.
        augmentations.append(T.FixedSizeCrop(tuple(jitter.SIZE), pad=False))
    if options.RANDOM_FLIP != "none":
        is_horizontal = options.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=is_horizontal, vertical=not is_horizontal))
    return augmentations


def _photometric(cfg: Any) -> T.Augmentation:
    if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
        raise ConfigError(
            f"INPUT.AUG.PHOTOMETRIC needs INPUT.FORMAT RGB or BGR, found {cfg.INPUT.FORMAT!r}."
        )
    options = cfg.INPUT.AUG.PHOTOMETRIC
    try:
        return T.PhotometricDistortion(
            options.BRIGHTNESS, tuple(options.CONTRAST), tuple(options.SATURATION), options.HUE
        )
    except ValueError as err:
        raise ConfigError(f"INPUT.AUG.PHOTOMETRIC: {err}") from err


build_transform_gen = build_augmentation
"""The name of before the rewrite."""


class DatasetMapper:
    """Read an image, augment it, and do the same to its annotations.

    A mapper is any function of a dataset dict; this one serves most trainings and tests. All
    draws come from numpy's global generator, which the loader keys for each sample.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        """Store what is to be done.

        Args:
            is_train: in testing, annotations are left out of the result.
            augmentations: applied in order.
            image_format: as in `read_image`.
            use_instance_mask: carry masks along.
            use_keypoint: carry keypoints along.
            instance_mask_format: "polygon" or "bitmask".
            keypoint_hflip_indices: see `create_keypoint_hflip_indices`.
            precomputed_proposal_topk: how many of an image's stored proposals to keep; None
                leaves stored proposals alone.
            recompute_boxes: draw the boxes anew around the transformed masks, which is tighter
                after crops and rotations.

        Raises:
            ConfigError: if boxes shall follow masks that are not used, or for an unknown format.
        """
        if recompute_boxes and not use_instance_mask:
            raise ConfigError(
                "recompute_boxes draws boxes around masks, but masks are not used; set "
                "use_instance_mask (MODEL.MASK_ON)."
            )
        if instance_mask_format not in MASK_FORMATS:
            raise ConfigError(
                f"INPUT.MASK_FORMAT is {instance_mask_format!r}; choose one of "
                f"{', '.join(MASK_FORMATS)}."
            )
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.use_keypoint = use_keypoint
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self.proposal_topk = precomputed_proposal_topk
        self.recompute_boxes = recompute_boxes
        mode = "training" if is_train else "testing"
        logging.getLogger(__name__).info("Augmentations in %s: %s", mode, self.augmentations)

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """The arguments of `__init__` that a configuration stands for."""
        augmentations = build_augmentation(cfg, is_train)
        use_crop = cfg.INPUT.CROP.ENABLED and is_train
        if use_crop:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        aug = cfg.INPUT.AUG
        cuts = use_crop or aug.MIN_IOU_CROP.ENABLED or aug.LARGE_SCALE_JITTER.ENABLED
        flip_indices = None
        if cfg.MODEL.KEYPOINT_ON and is_train:
            flip_indices = np.array(create_keypoint_hflip_indices(cfg.DATASETS.TRAIN))
        topk = None
        if cfg.MODEL.LOAD_PROPOSALS:
            sets = cfg.DATASETS
            topk = (
                sets.PRECOMPUTED_PROPOSAL_TOPK_TRAIN
                if is_train
                else sets.PRECOMPUTED_PROPOSAL_TOPK_TEST
            )
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "keypoint_hflip_indices": flip_indices,
            "precomputed_proposal_topk": topk,
            # A crop leaves boxes larger than what is still to be seen of the object.
            "recompute_boxes": bool(is_train and cuts and cfg.MODEL.MASK_ON),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Make a model input.

        Args:
            dataset_dict: one image of a dataset; it is not changed.

        Returns:
            The dict's entries (file_name, height, width, image_id, ...) with
            image: (C, H, W) uint8 tensor (or the image's dtype), in the wanted format;
            instances: in training, what is left of the objects, without crowds;
            sem_seg: in training, (H, W) int64, where the dataset has it;
            proposals: `Instances`, where they are stored and wanted.
        """
        sample = dict(dataset_dict)
        image = read_image(sample["file_name"], format=self.image_format)
        check_image_size(sample, image)
        sem_seg = None
        if self.is_train and "sem_seg_file_name" in sample:
            sem_seg = _read_labels(sample.pop("sem_seg_file_name"))
        aug_input = T.AugInput(image, boxes=_boxes_of(sample), sem_seg=sem_seg)
        transforms = self.augmentations(aug_input)
        image_shape = aug_input.image.shape[:2]
        sample["image"] = _to_planes(aug_input.image)
        if sem_seg is not None:
            sample["sem_seg"] = torch.as_tensor(aug_input.sem_seg.astype(np.int64))
        if self.proposal_topk is not None:
            transform_proposals(sample, image_shape, transforms, proposal_topk=self.proposal_topk)
        if not self.is_train:
            sample.pop("annotations", None)
            sample.pop("sem_seg_file_name", None)
        elif "annotations" in sample:
            self._transform_annotations(sample, transforms, image_shape)
        return sample

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.Transform,
        image_shape: tuple[int, int],
    ) -> None:
        """Replace the annotations of a sample by instances, in place. A subclass may change it."""
        unused = set()
        if not self.use_instance_mask:
            unused.add("segmentation")
        if not self.use_keypoint:
            unused.add("keypoints")
        annos = [
            transform_instance_annotations(
                {key: value for key, value in anno.items() if key not in unused},
                transforms,
                image_shape,
                keypoint_hflip_indices=self.keypoint_hflip_indices,
            )
            for anno in dataset_dict.pop("annotations")
            if anno.get("iscrowd", 0) == 0
        ]
        instances = annotations_to_instances(annos, image_shape, self.instance_mask_format)
        self._add_empty_fields(instances, str(dataset_dict.get("file_name", "an image")))
        if self.recompute_boxes and len(instances):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = filter_empty_instances(instances)

    def _add_empty_fields(self, instances: Any, name: str) -> None:
        """Give an image without objects the fields that other images have."""
        if len(instances) > 0:
            if self.use_instance_mask and not instances.has("gt_masks"):
                raise DataError(
                    f"No object of {name} has a mask ('segmentation'), and MODEL.MASK_ON is True. "
                    "Set MODEL.MASK_ON False to train on boxes alone, or add the masks."
                )
            return
        if self.use_instance_mask:
            no_maps = torch.zeros((0, *instances.image_size), dtype=torch.bool)
            is_polygon = self.instance_mask_format == "polygon"
            instances.gt_masks = PolygonMasks([]) if is_polygon else BitMasks(no_maps)
        if self.use_keypoint:
            indices = self.keypoint_hflip_indices
            instances.gt_keypoints = Keypoints(
                torch.zeros((0, 0 if indices is None else len(indices), 3))
            )


def _boxes_of(sample: dict[str, Any]) -> np.ndarray | None:
    """(N, 4) xyxy boxes of the objects that are no crowd, for augmentations that look at them."""
    annos = [a for a in sample.get("annotations", ()) if a.get("iscrowd", 0) == 0 and "bbox" in a]
    if "annotations" not in sample:
        return None
    return np.stack([get_bbox(a) for a in annos]) if annos else np.zeros((0, 4))


def _read_labels(file_name: str) -> np.ndarray:
    """(H, W) uint8 or int32 class of each pixel."""
    labels = read_image(file_name)
    if labels.ndim == 3:
        labels = read_image(file_name, "L").squeeze(2)
    # DIFFERS: a palette's numbers are taken as they are, not the brightness of their colours,
    # and 16-bit labels keep all their bits.
    return labels.astype(np.uint8 if labels.dtype.itemsize == 1 else np.int32)


def _to_planes(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) or (H, W) array to a contiguous (C, H, W) tensor."""
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    # Torch takes no views of negative stride (flips) and no read-only arrays.
    return torch.from_numpy(np.require(planes, requirements=["C", "W"]))


Mapper = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What a data loader calls on each dataset dict; None means: take another image."""
