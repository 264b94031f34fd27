"""Cascade Mask R-CNN of MViTv2-L on LVIS, 50 epochs."""

from ..common.recipe import mvit, on_lvis

dataloader, lr_multiplier, model, optimizer, train = on_lvis(mvit("l"), 50, rate=4e-5)
