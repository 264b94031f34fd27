"""Cascade Mask R-CNN of Swin-L on LVIS, 50 epochs."""

from ..common.recipe import on_lvis, swin

dataloader, lr_multiplier, model, optimizer, train = on_lvis(swin("l", 0.3), 50, rate=1e-4)
