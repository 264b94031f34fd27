"""Mask R-CNN with synchronised batch norm in its heads."""

from .recipe import head_with

dataloader, lr_multiplier, model, optimizer, train = head_with("SyncBN")
