"""Panoptic FPN of ResNet-50 on COCO, 90,000 iterations."""

from ..common.data.coco_panoptic_separated import dataloader
from ..common.models.panoptic_fpn import model
from ..common.one_times import one_times

dataloader, lr_multiplier, model, optimizer, train = one_times(model, dataloader)
