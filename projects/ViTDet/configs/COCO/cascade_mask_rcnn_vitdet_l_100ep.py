"""Cascade Mask R-CNN of ViT-L on COCO, 100 epochs."""

from ..common.recipe import on_coco, vit

dataloader, lr_multiplier, model, optimizer, train = on_coco(vit("l", 0.4), 100)
