"""Mask R-CNN of ResNet-50 with an FPN, 200 epochs from scratch."""

from .recipe import baseline

dataloader, lr_multiplier, model, optimizer, train = baseline(200)
