"""Small heads on two levels, and images with and without objects."""

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.structures import BitMasks, Boxes, ImageList, Instances, Keypoints

SIZE = (64, 96)
SHAPES = {
    "p2": ShapeSpec(channels=8, stride=4),
    "p3": ShapeSpec(channels=8, stride=8),
}
NUM_CLASSES = 3


@pytest.fixture
def cfg():
    node = get_cfg()
    node.MODEL.DEVICE = "cpu"
    node.MODEL.MASK_ON = True
    node.MODEL.KEYPOINT_ON = True
    heads = node.MODEL.ROI_HEADS
    heads.NAME = "StandardROIHeads"
    heads.IN_FEATURES = ["p2", "p3"]
    heads.NUM_CLASSES = NUM_CLASSES
    heads.BATCH_SIZE_PER_IMAGE = 16
    heads.SCORE_THRESH_TEST = 0.0
    box = node.MODEL.ROI_BOX_HEAD
    box.NAME = "FastRCNNConvFCHead"
    box.NUM_FC, box.FC_DIM, box.POOLER_RESOLUTION = 1, 16, 5
    mask = node.MODEL.ROI_MASK_HEAD
    mask.NUM_CONV, mask.CONV_DIM, mask.POOLER_RESOLUTION = 1, 8, 5
    keypoint = node.MODEL.ROI_KEYPOINT_HEAD
    keypoint.CONV_DIMS, keypoint.NUM_KEYPOINTS, keypoint.POOLER_RESOLUTION = [8], 4, 5
    return node


def maps(num_images: int) -> dict[str, torch.Tensor]:
    """Feature maps that want a gradient, as those of a backbone do."""
    height, width = SIZE
    return {
        name: torch.randn(
            num_images, s.channels, height // s.stride, width // s.stride
        ).requires_grad_()
        for name, s in SHAPES.items()
    }


def images(num_images: int) -> ImageList:
    return ImageList(torch.zeros(num_images, 3, *SIZE), [SIZE] * num_images)


def proposals_of(boxes) -> Instances:
    made = Instances(SIZE)
    made.proposal_boxes = Boxes(torch.tensor(boxes).float().reshape(-1, 4))
    made.objectness_logits = torch.zeros(len(boxes))
    return made


def targets_of(boxes, classes) -> Instances:
    """Ground truth whose masks fill the boxes and whose keypoints lie inside them."""
    made = Instances(SIZE)
    made.gt_boxes = Boxes(torch.tensor(boxes).float().reshape(-1, 4))
    made.gt_classes = torch.tensor(classes, dtype=torch.int64)
    masks = torch.zeros((len(boxes), *SIZE), dtype=torch.bool)
    points = torch.zeros((len(boxes), 4, 3))
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        masks[i, int(y0) : int(y1), int(x0) : int(x1)] = True
        points[i, :, 0] = (x0 + x1) / 2
        points[i, :, 1] = (y0 + y1) / 2
        points[i, :, 2] = 2
    made.gt_masks = BitMasks(masks)
    made.gt_keypoints = Keypoints(points)
    return made
