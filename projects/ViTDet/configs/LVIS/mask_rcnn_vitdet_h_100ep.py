"""Mask R-CNN of ViT-H on LVIS, 100 epochs."""

from ..common.recipe import on_lvis, vit

dataloader, lr_multiplier, model, optimizer, train = on_lvis(
    vit("h", 0.4), 100, rate=1e-4, cascade=False
)
