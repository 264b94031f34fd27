"""FCPoseDatasetMapper: one dataset dict -> one training sample with heat maps of its keypoints."""

from collections.abc import Sequence
from typing import Any

from d2lite.config import CfgNode, configurable
from d2lite.data import DatasetMapper, MetadataCatalog

from .heatmaps import draw_heatmaps, keypoint_sigmas


class FCPoseDatasetMapper(DatasetMapper):
    """The usual mapper, whose training samples have `keypoint_heatmaps`, see `draw_heatmaps`.

    Args:
        is_train: see `DatasetMapper`.
        heatmap_stride: pixels of a cell.
        heatmap_sigmas: a deviation for each keypoint, in cells.
        **others: see `DatasetMapper`.
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
        """See `DatasetMapper`; with `keypoint_heatmaps` in training, (K, H, W) float32."""
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
    return FCPoseDatasetMapper(cfg, True) if cfg.MODEL.FCPOSE_ON else None
