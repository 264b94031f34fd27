"""Mask R-CNN of ViT-H on COCO, 75 epochs."""

from ..common.recipe import on_coco, vit

dataloader, lr_multiplier, model, optimizer, train = on_coco(vit("h", 0.5), 75, cascade=False)
