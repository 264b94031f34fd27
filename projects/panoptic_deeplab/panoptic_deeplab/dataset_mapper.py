"""PanopticDeeplabDatasetMapper: one dataset dict -> one training sample with its targets."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from d2lite.config import CfgNode, configurable
from d2lite.data import MetadataCatalog
from d2lite.data import transforms as T
from d2lite.data.augmenting import build_augmentation
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.images.image_io import check_image_size, read_image
from d2lite.utils.errors import ConfigError, DataError

from .target_generator import PanopticDeepLabTargetGenerator

_UNUSED = ("annotations", "pan_seg_file_name", "sem_seg_file_name")


def panoptic_metadata(cfg: CfgNode) -> Any:
    """The metadata of the set that a model is made for, the first of DATASETS.TRAIN.

    Raises:
        ConfigError: if it does not say which classes are objects and how labels are numbered.
    """
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    metadata = MetadataCatalog.get(names[0]) if names else None
    for key in ("thing_dataset_id_to_contiguous_id", "label_divisor"):
        if metadata is None or metadata.get(key) is None:
            raise ConfigError(
                f"Panoptic-DeepLab reads {key} from the metadata of {names[:1]}, which does not "
                "have it. Name a panoptic set with one row of class numbers in DATASETS.TRAIN, "
                "such as coco_2017_train_panoptic or shapes_train_panoptic_joint."
            )
    return metadata


class PanopticDeeplabDatasetMapper:
    """Read an image and its map of segments, augment both, and make the targets.

    Args:
        augmentations: applied in order.
        image_format: see `read_image`.
        panoptic_target_generator: (H, W) numbers of segments and their dicts -> targets by name.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        panoptic_target_generator: Callable[..., dict[str, Any]],
    ) -> None:
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format
        self.panoptic_target_generator = panoptic_target_generator

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `INPUT` and the metadata of the training set."""
        metadata = panoptic_metadata(cfg)
        steps = build_augmentation(cfg, True)
        if cfg.INPUT.CROP.ENABLED and not len(cfg.INPUT.AUGMENTATIONS):
            # After the resize, unlike a detector's, so that crops have the size of the input.
            steps.insert(1, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "augmentations": steps,
            "image_format": cfg.INPUT.FORMAT,
            "panoptic_target_generator": PanopticDeepLabTargetGenerator(
                ignore_label=metadata.ignore_label,
                thing_ids=metadata.thing_dataset_id_to_contiguous_id.values(),
                sigma=cfg.INPUT.GAUSSIAN_SIGMA,
                ignore_stuff_in_offset=cfg.INPUT.IGNORE_STUFF_IN_OFFSET,
                small_instance_area=cfg.INPUT.SMALL_INSTANCE_AREA,
                small_instance_weight=cfg.INPUT.SMALL_INSTANCE_WEIGHT,
                ignore_crowd_in_semantic=cfg.INPUT.IGNORE_CROWD_IN_SEMANTIC,
            ),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Make a sample.

        Args:
            dataset_dict: one image, with pan_seg_file_name and segments_info; it is not changed.

        Returns:
            the dict's other entries, "image" ((C, H, W) uint8) and the targets.

        Raises:
            DataError: if the image has no map of segments.
        """
        if "pan_seg_file_name" not in dataset_dict:
            raise DataError(
                f"{dataset_dict.get('file_name', 'An image')} has no pan_seg_file_name. Train "
                "Panoptic-DeepLab on a panoptic set (DATASETS.TRAIN)."
            )
        image = read_image(dataset_dict["file_name"], format=self.image_format)
        check_image_size(dataset_dict, image)
        segments = rgb_to_segment_ids(read_image(dataset_dict["pan_seg_file_name"], format="RGB"))
        seen = T.AugInput(image, sem_seg=segments.astype(np.int32))
        self.augmentations(seen)
        sample = {
            key: copy.deepcopy(value) for key, value in dataset_dict.items() if key not in _UNUSED
        }
        planes = np.ascontiguousarray(np.atleast_3d(seen.image).transpose(2, 0, 1))
        targets = self.panoptic_target_generator(seen.sem_seg, sample["segments_info"])
        return {**sample, "image": torch.from_numpy(planes), **targets}


def build_train_mapper(cfg: CfgNode) -> PanopticDeeplabDatasetMapper | None:
    """The mapper of Panoptic-DeepLab's training data; None for other models.

    Args:
        cfg: the whole config.
    """
    is_ours = cfg.MODEL.META_ARCHITECTURE == "PanopticDeepLab"
    return PanopticDeeplabDatasetMapper(cfg) if is_ours else None
