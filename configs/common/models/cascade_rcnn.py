"""Cascade Mask R-CNN of ResNet-50 with an FPN."""

from .parts import make_cascade, mask_rcnn_fpn

model = make_cascade(mask_rcnn_fpn())
