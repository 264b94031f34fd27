"""Mask R-CNN of MViTv2-T on COCO, 36 epochs."""

from .common.recipe import constants, detector

__all__ = ["constants", "dataloader", "lr_multiplier", "model", "optimizer", "train"]

dataloader, lr_multiplier, model, optimizer, train = detector("t", cascade=False)
