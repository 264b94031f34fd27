"""Cascade Mask R-CNN of MViTv2-L on COCO, 50 epochs."""

from .common.recipe import detector

dataloader, lr_multiplier, model, optimizer, train = detector(
    "l", pretrained="in21k", epochs=50, jitter=True, rate=1e-4
)
