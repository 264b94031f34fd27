"""The published address of the losses."""

from d2lite.modeling.transformer.mask_criterion import MaskCriterion as SetCriterion
from d2lite.modeling.transformer.mask_criterion import calculate_uncertainty

__all__ = ["SetCriterion", "calculate_uncertainty"]
