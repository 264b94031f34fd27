"""Mask R-CNN of RegNetX-4GF with an FPN, 100 epochs from scratch."""

from .recipe import baseline, regnetx_4gf

dataloader, lr_multiplier, model, optimizer, train = baseline(100, regnetx_4gf())
