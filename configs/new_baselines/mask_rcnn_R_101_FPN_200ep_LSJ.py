"""Mask R-CNN of ResNet-101 with an FPN, 200 epochs from scratch."""

from .recipe import baseline, from_scratch

dataloader, lr_multiplier, model, optimizer, train = baseline(200, from_scratch(101))
