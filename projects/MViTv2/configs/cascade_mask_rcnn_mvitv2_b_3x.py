"""Cascade Mask R-CNN of MViTv2-B on COCO, 36 epochs."""

from .common.recipe import detector

dataloader, lr_multiplier, model, optimizer, train = detector("b")
