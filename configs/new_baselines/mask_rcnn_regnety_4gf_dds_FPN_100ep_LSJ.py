"""Mask R-CNN of RegNetY-4GF with an FPN, 100 epochs from scratch."""

from .recipe import baseline, regnety_4gf

dataloader, lr_multiplier, model, optimizer, train = baseline(100, regnety_4gf())
