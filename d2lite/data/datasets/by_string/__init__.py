"""Datasets named by one string, such as coco:labels.json@photos."""
