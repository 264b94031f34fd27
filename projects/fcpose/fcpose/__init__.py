"""FCPose: poses of several people by convolutions that each person has of their own."""

from .config import add_fcpose_config
from .dataset_mapper import DatasetMapperWithBasis, FCPoseDatasetMapper, build_train_mapper
from .heatmaps import draw_heatmaps
from .layers import BasisModule, FCPoseHead
from .meta_arch import FCPose

__all__ = [
    "BasisModule",
    "DatasetMapperWithBasis",
    "FCPose",
    "FCPoseDatasetMapper",
    "FCPoseHead",
    "add_fcpose_config",
    "build_train_mapper",
    "draw_heatmaps",
]
