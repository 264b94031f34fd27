"""Keypoint R-CNN of ResNet-50 with an FPN on COCO, 90,000 iterations."""

from ..common.data.coco_keypoint import dataloader
from ..common.models.keypoint_rcnn_fpn import model
from ..common.one_times import one_times

dataloader, lr_multiplier, model, optimizer, train = one_times(model, dataloader)
