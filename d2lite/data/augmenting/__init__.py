"""Augmentation as a config asks for it: steps of one image, and steps that mix images."""
