"""Cascade Mask R-CNN of MViTv2-H on COCO, 36 epochs."""

from ..common.recipe import mvit, on_coco

dataloader, lr_multiplier, model, optimizer, train = on_coco(mvit("h"), 36, rate=1.6e-4)
