"""Cascade Mask R-CNN of MViTv2-B on COCO, 100 epochs."""

from ..common.recipe import constants, mvit, on_coco

__all__ = ["constants", "dataloader", "lr_multiplier", "model", "optimizer", "train"]

dataloader, lr_multiplier, model, optimizer, train = on_coco(mvit("b"), 100, rate=8e-5)
