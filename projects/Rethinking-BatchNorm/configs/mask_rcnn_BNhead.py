"""Mask R-CNN with ordinary batch norm in its heads."""

from .recipe import head_with

dataloader, lr_multiplier, model, optimizer, train = head_with("BN")
