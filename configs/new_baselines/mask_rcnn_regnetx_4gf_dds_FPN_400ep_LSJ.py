"""Mask R-CNN of RegNetX-4GF with an FPN, 400 epochs from scratch."""

from .recipe import baseline, regnetx_4gf

dataloader, lr_multiplier, model, optimizer, train = baseline(400, regnetx_4gf())
