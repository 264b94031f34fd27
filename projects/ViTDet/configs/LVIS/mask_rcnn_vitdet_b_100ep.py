"""Mask R-CNN of ViT-B on LVIS, 100 epochs."""

from ..common.recipe import on_lvis, vit

dataloader, lr_multiplier, model, optimizer, train = on_lvis(
    vit("b", 0.1), 100, rate=2e-4, cascade=False
)
