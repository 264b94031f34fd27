"""Cascade Mask R-CNN of MViTv2-H on LVIS, 50 epochs."""

from ..common.recipe import mvit, on_lvis

dataloader, lr_multiplier, model, optimizer, train = on_lvis(mvit("h"), 50, rate=2e-5)
