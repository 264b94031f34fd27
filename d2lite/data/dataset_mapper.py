"""DatasetMapper: one dataset dict -> one model input."""

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from d2lite.config import configurable
from d2lite.data.samplers.stream import EpochOrder
from d2lite.structures import BitMasks, Keypoints, PolygonMasks
from d2lite.utils.errors import ConfigError, DataError, UnknownNameError

from . import transforms as T
from .annotations import (
    annotations_to_instances,
    check_mask_format,
    filter_empty_instances,
    transform_instance_annotations,
    transform_proposals,
)
from .augmenting import (
    LabelledImage,
    WholeImageAugmentation,
    WholeImageSteps,
    build_augmentation,
    build_steps,
    build_transform_gen,
    may_cut,
    mixing_ends_at,
)
from .classes import create_keypoint_hflip_indices
from .images.class_map_files import read_class_map
from .images.image_io import check_image_size, read_image
from .rotated_boxes import rotated_instances, uses_rotated_boxes

__all__ = ["DatasetMapper", "build_augmentation", "build_transform_gen"]


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
        augmentations: Sequence[T.Augmentation | T.Transform | WholeImageAugmentation],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        use_rotated_boxes: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
        mixing_ends_at: int | Callable[[float], int] | None = None,
        ignore_value: int = 255,
        off_at_end: Sequence[str] = (),
    ) -> None:
        """Store what is to be done.

        Args:
            is_train: in testing, annotations are left out of the result.
            augmentations: applied in order. Those that mix images need `with_partners`, which
                the training loader sees to.
            image_format: as in `read_image`.
            use_instance_mask: carry masks along.
            use_keypoint: carry keypoints along.
            use_rotated_boxes: give rotated boxes, see `rotated_box`, without masks and keypoints.
            instance_mask_format: "polygon" or "bitmask".
            keypoint_hflip_indices: see `create_keypoint_hflip_indices`.
            precomputed_proposal_topk: how many of an image's stored proposals to keep; None
                leaves stored proposals alone.
            recompute_boxes: draw the boxes again around the transformed masks, which is tighter
                after crops and rotations.
            mixing_ends_at: the position in the sample stream from which on no images are
                mixed, or a function that gives it for the number of images in an epoch; None for
                never.
            ignore_value: the class, in maps of classes, of pixels that have none.
            off_at_end: names of further augmentations that are left out with the mixing ones.

        Raises:
            ConfigError: if boxes are to follow masks that are not used, if rotated boxes are to
                come with masks, keypoints or mixed images, or for an unknown format.
        """
        if recompute_boxes and not use_instance_mask:
            raise ConfigError(
                "recompute_boxes draws boxes around masks, but masks are not used; set "
                "use_instance_mask (MODEL.MASK_ON)."
            )
        check_mask_format(instance_mask_format)
        self.is_train = is_train
        self.steps = WholeImageSteps(augmentations, mixing_ends_at, off_at_end)
        if use_rotated_boxes and (use_instance_mask or use_keypoint or self.steps.mixing):
            raise ConfigError(
                "A model of rotated boxes (MODEL.PROPOSAL_GENERATOR.NAME RRPN) has neither masks "
                "nor keypoints, and its images cannot be mixed or changed by Albumentations. Set "
                "MODEL.MASK_ON and MODEL.KEYPOINT_ON False, and leave these steps out of "
                "INPUT.AUGMENTATIONS."
            )
        self.ignore_value = ignore_value
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.use_keypoint = use_keypoint
        self.use_rotated_boxes = use_rotated_boxes
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self.proposal_topk = precomputed_proposal_topk
        self.recompute_boxes = recompute_boxes
        mode = "training" if is_train else "testing"
        logging.getLogger(__name__).info(
            "Augmentations in %s: %s", mode, ", ".join(map(repr, augmentations)) or "none"
        )

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """The arguments of `__init__` that a configuration stands for."""
        augmentations = build_steps(cfg, is_train)
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
            "use_rotated_boxes": uses_rotated_boxes(cfg),
            "keypoint_hflip_indices": flip_indices,
            "precomputed_proposal_topk": topk,
            # A crop leaves boxes larger than what is still to be seen of the object.
            "recompute_boxes": is_train and cfg.MODEL.MASK_ON and may_cut(augmentations),
            "mixing_ends_at": mixing_ends_at(cfg) if is_train else None,
            "off_at_end": cfg.INPUT.OFF_WITH_MIXING if is_train else (),
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }

    @property
    def augmentations(self) -> T.AugmentationList:
        """Those that change one image, as a list that subclasses may apply themselves.

        Another list, or a sequence, takes the place of all augmentations; change it by setting it.
        """
        return T.AugmentationList(self.steps.plain)

    @augmentations.setter
    def augmentations(
        self, value: T.AugmentationList | Sequence[T.Augmentation | T.Transform]
    ) -> None:
        chosen = value.augs if isinstance(value, T.AugmentationList) else value
        self.steps = WholeImageSteps(chosen, self.steps.mixing_ends_at)

    @property
    def needs_partners(self) -> bool:
        """Whether an augmentation asks for other images of the dataset."""
        return self.steps.needs_partners

    def with_partners(self, dataset: Any, order: EpochOrder | None = None) -> "DatasetMapper":
        """A copy that knows where to draw the other images of a mixture from.

        Args:
            dataset: map-style, of dataset dicts.
            order: of the training's sampler, if it has one; see `PartnerSource`.
        """
        made = copy.copy(self)
        made.steps = self.steps.with_partners(dataset, order)
        return made

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
        labelled, transforms = self.steps(self._read(sample), self._read)
        if self.steps.mixing and labelled.has_annotations:
            sample["annotations"] = labelled.annotations
        sample["image"] = _to_planes(labelled.image)
        if labelled.sem_seg is not None:
            sample["sem_seg"] = torch.as_tensor(labelled.sem_seg.astype(np.int64))
        sample.pop("sem_seg_file_name", None)
        if self.proposal_topk is not None:
            transform_proposals(sample, labelled.size, transforms, proposal_topk=self.proposal_topk)
        if not self.is_train:
            sample.pop("annotations", None)
        elif "annotations" in sample:
            self._transform_annotations(sample, transforms, labelled.size)
        return sample

    def _read(self, record: dict[str, Any]) -> LabelledImage:
        """The image of a dataset dict, as it is on the disk."""
        if "file_name" not in record:
            known = ", ".join(map(str, record)) or "nothing"
            raise UnknownNameError(
                f"A dataset dict has no 'file_name', the path of its image; it has {known}."
            )
        image = read_image(record["file_name"], format=self.image_format)
        check_image_size(record, image)
        labels = None
        if self.is_train and "sem_seg_file_name" in record:
            labels = read_class_map(record["sem_seg_file_name"])
            if self.steps.mixing or self.ignore_value > 255:
                labels = labels.astype(np.int32)  # images of two datasets may be mixed
        annos = [a for a in record.get("annotations", ()) if a.get("iscrowd", 0) == 0]
        if self.steps.mixing:
            unused = self._unused_keys(self.steps.needs_masks)
            annos = [{k: v for k, v in anno.items() if k not in unused} for anno in annos]
        return LabelledImage(
            image,
            annos,
            labels,
            has_annotations="annotations" in record,
            ignore_value=self.ignore_value,
            hflip_indices=self.keypoint_hflip_indices,
        )

    def _unused_keys(self, needs_masks: bool) -> set[str]:
        unused = set()
        if not (self.use_instance_mask or needs_masks):
            unused.add("segmentation")
        if not self.use_keypoint:
            unused.add("keypoints")
        return unused

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.Transform,
        image_shape: tuple[int, int],
    ) -> None:
        """Replace the annotations of a sample by instances, in place. A subclass may change it."""
        if self.use_rotated_boxes:
            annos = [a for a in dataset_dict.pop("annotations") if a.get("iscrowd", 0) == 0]
            instances = rotated_instances(annos, transforms, image_shape)
            dataset_dict["instances"] = filter_empty_instances(instances)
            return
        unused = self._unused_keys(needs_masks=False)
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
        """Give an image without objects, or keypoints, the fields that other images have."""
        if self.use_keypoint and not instances.has("gt_keypoints"):
            indices = self.keypoint_hflip_indices
            count = 0 if indices is None else len(indices)
            instances.gt_keypoints = Keypoints(torch.zeros(len(instances), count, 3))
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


def _to_planes(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) or (H, W) array to a contiguous (C, H, W) tensor."""
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    # Torch takes no views of negative stride (flips) and no read-only arrays.
    return torch.from_numpy(np.require(planes, requirements=["C", "W"]))


Mapper = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What a data loader calls on each dataset dict; None means: take another image."""
