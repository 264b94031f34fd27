"""Cascade Mask R-CNN of MViTv2-B on LVIS, 100 epochs."""

from ..common.recipe import mvit, on_lvis

dataloader, lr_multiplier, model, optimizer, train = on_lvis(mvit("b"), 100, rate=1e-4)
