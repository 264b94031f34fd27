"""Cascade Mask R-CNN of MViTv2-H on COCO, 36 epochs."""

from .common.recipe import detector

dataloader, lr_multiplier, model, optimizer, train = detector("h", pretrained="in21k", jitter=True)
