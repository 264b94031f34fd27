"""Parts that models of queries share: positions, deformable attention, assignment, mask losses."""

from .assignment import hungarian_assignment
from .deformable_attention import MultiScaleDeformableAttention, deformable_attention
from .mask_losses import (
    mask_bce_losses,
    mask_dice_losses,
    pairwise_bce_costs,
    pairwise_dice_costs,
)
from .position_encoding import cell_centers, sine_position_encoding

__all__ = [
    "MultiScaleDeformableAttention",
    "cell_centers",
    "deformable_attention",
    "hungarian_assignment",
    "mask_bce_losses",
    "mask_dice_losses",
    "pairwise_bce_costs",
    "pairwise_dice_costs",
    "sine_position_encoding",
]
