"""Evaluation of one or many datasets, with test-time augmentation, and of validation losses."""

from .evaluate_datasets import evaluate_datasets
from .tta_evaluation import augmented_model, evaluate_augmented
from .validation_data import build_validation_loader, build_validation_loaders

__all__ = [
    "augmented_model",
    "build_validation_loader",
    "build_validation_loaders",
    "evaluate_augmented",
    "evaluate_datasets",
]
