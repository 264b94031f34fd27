"""Cascade Mask R-CNN of Swin-B on COCO, 50 epochs."""

from ..common.recipe import on_coco, swin

dataloader, lr_multiplier, model, optimizer, train = on_coco(swin("b", 0.4), 50, rate=4e-5)
