"""The published address of the assignment."""

from d2lite.modeling.transformer.mask_matching import HungarianMatcher

__all__ = ["HungarianMatcher"]
