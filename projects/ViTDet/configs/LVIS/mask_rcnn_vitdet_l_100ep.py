"""Mask R-CNN of ViT-L on LVIS, 100 epochs."""

from ..common.recipe import on_lvis, vit

dataloader, lr_multiplier, model, optimizer, train = on_lvis(
    vit("l", 0.4), 100, rate=2e-4, cascade=False
)
