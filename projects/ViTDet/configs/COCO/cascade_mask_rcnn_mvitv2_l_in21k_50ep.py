"""Cascade Mask R-CNN of MViTv2-L on COCO, 50 epochs."""

from ..common.recipe import mvit, on_coco

dataloader, lr_multiplier, model, optimizer, train = on_coco(mvit("l"), 50, rate=8e-5)
