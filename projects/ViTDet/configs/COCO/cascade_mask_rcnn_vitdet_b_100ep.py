"""Cascade Mask R-CNN of ViT-B on COCO, 100 epochs."""

from ..common.recipe import on_coco, vit

dataloader, lr_multiplier, model, optimizer, train = on_coco(vit("b", 0.1), 100)
