"""Loaders and evaluator for the persons of COCO and their keypoints."""

from d2lite.data.detection_utils import create_keypoint_hflip_indices

from .coco import loaders, resize_and_flip

_TRAIN = "keypoints_coco_2017_train"

dataloader = loaders(
    _TRAIN,
    "keypoints_coco_2017_val",
    resize_and_flip((640, 672, 704, 736, 768, 800)),
    use_keypoint=True,
    keypoint_hflip_indices=create_keypoint_hflip_indices(_TRAIN),
)
# Images in which no keypoint is visible give nothing to learn.
dataloader["train"].dataset.min_keypoints = 1
