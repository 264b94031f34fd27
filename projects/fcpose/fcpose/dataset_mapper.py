"""Mappers whose samples also have what features that all objects share learn from.

H x W pixels of the network's input.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.data import DatasetMapper, MetadataCatalog
from d2lite.structures import BitMasks, Instances
from d2lite.utils.errors import ConfigError

from .heatmaps import draw_heatmaps, keypoint_sigmas


class DatasetMapperWithBasis(DatasetMapper):
    """The usual mapper, whose training samples have `basis_sem`, see `draw_classes`, where wanted.

    Args:
        is_train: see `DatasetMapper`.
        basis_loss_on: whether `basis_sem` is made, of the masks of the objects.
        **others: see `DatasetMapper`.

    Raises:
        ConfigError: if it is wanted of a mapper without masks.
    """

    @configurable
    def __init__(self, is_train: bool, *, basis_loss_on: bool = False, **others: Any) -> None:
        super().__init__(is_train, **others)
        self.basis_loss_on = basis_loss_on
        if basis_loss_on and not self.use_instance_mask:
            raise ConfigError(
                "MODEL.BASIS_MODULE.LOSS_ON learns classes of pixels from the masks of objects; "
                "set MODEL.MASK_ON True."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments of `DatasetMapper`, and `MODEL.BASIS_MODULE.LOSS_ON`."""
        arguments = super().from_config(cfg, is_train)
        return {**arguments, "basis_loss_on": cfg.MODEL.BASIS_MODULE.LOSS_ON}

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """See `DatasetMapper`; with `basis_sem` in training, (H, W) int64."""
        sample = super().__call__(dataset_dict)
        if self.basis_loss_on and "instances" in sample:
            sample["basis_sem"] = draw_classes(sample["instances"])
        return sample


def draw_classes(objects: Instances) -> Tensor:
    """The class of each pixel: 0 for background, one more than the number of the class else.

    Args:
        objects: with `gt_masks` and `gt_classes`; of several at a pixel the smallest counts.

    Returns:
        (H, W) int64.
    """
    masks = BitMasks.of(objects.gt_masks, *objects.image_size).tensor
    classes = torch.zeros(objects.image_size, dtype=torch.int64)
    areas = masks.flatten(1).sum(dim=1)
    for row in areas.argsort(descending=True, stable=True).tolist():
        classes[masks[row]] = objects.gt_classes[row] + 1
    return classes


class FCPoseDatasetMapper(DatasetMapperWithBasis):
    """The mapper whose training samples have `keypoint_heatmaps`, see `draw_heatmaps`.

    Args:
        is_train: see `DatasetMapper`.
        heatmap_stride: pixels of a cell.
        heatmap_sigmas: a deviation for each keypoint, in cells.
        **others: see `DatasetMapperWithBasis`.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        heatmap_stride: int,
        heatmap_sigmas: Sequence[float],
        **others: Any,
    ) -> None:
        super().__init__(is_train, **others)
        self.heatmap_stride = heatmap_stride
        self.heatmap_sigmas = list(heatmap_sigmas)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments from `MODEL.FCPOSE` and the names of the training set's keypoints."""
        node = cfg.MODEL.FCPOSE
        arguments = super().from_config(cfg, is_train)
        names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).keypoint_names
        return {
            **arguments,
            "heatmap_stride": node.GT_HEATMAP_STRIDE,
            "heatmap_sigmas": keypoint_sigmas(names, node.HEATMAP_SIGMA),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """See `DatasetMapperWithBasis`; with `keypoint_heatmaps` in training, (K, H, W) float32."""
        sample = super().__call__(dataset_dict)
        if "instances" in sample:
            truth = sample["instances"]
            sample["keypoint_heatmaps"] = draw_heatmaps(
                truth.gt_keypoints.tensor,
                truth.image_size,
                self.heatmap_stride,
                self.heatmap_sigmas,
            )
        return sample


def build_train_mapper(cfg: CfgNode) -> FCPoseDatasetMapper | None:
    """The mapper of FCPose's training data; None for other models.

    Args:
        cfg: the whole config.
    """
    # A plain get_cfg() does not have the keys of projects.
    return FCPoseDatasetMapper(cfg, True) if cfg.MODEL.get("FCPOSE_ON", False) else None
