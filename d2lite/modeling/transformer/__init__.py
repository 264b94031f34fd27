"""Parts that models of queries share: positions, attention, layers, assignment, losses, results."""

from .assignment import hungarian_assignment
from .box_attention import BoxAttention
from .boxes import (
    cell_boxes,
    cxcywh_to_xyxy,
    inverse_sigmoid,
    place_logits,
    refine_boxes,
    usable_cells,
    xyxy_to_cxcywh,
)
from .decoded import Decoded, aux_endings, choose_cells, split_denoising
from .decoder import MLP, DecoderLayer
from .deformable_attention import MultiScaleDeformableAttention, deformable_attention
from .deformable_encoder import DeformableEncoder, DeformableEncoderLayer
from .denoising import DenoisingQueries, denoising_queries
from .distributions import (
    distillation_losses,
    edge_steps,
    edge_targets,
    fine_grained_losses,
    move_edges,
)
from .hybrid_encoder import EncoderLayer, HybridEncoder
from .mask_criterion import MaskCriterion
from .mask_losses import mask_bce_losses, mask_dice_losses, pairwise_bce_costs, pairwise_dice_costs
from .mask_matching import HungarianMatcher
from .mask_results import (
    best_instances,
    best_instances_padded,
    panoptic_segments,
    panoptic_segments_padded,
    semantic_scores,
)
from .memory import Memory, visible_cells
from .pairs import Pairs
from .position_encoding import (
    cell_centers,
    grid_position_encoding,
    sine_box_encoding,
    sine_position_encoding,
)
from .rep_blocks import ConvNorm
from .set_criterion import PairLosses, Predictions, SetCriterion
from .set_losses import (
    focal_class_costs,
    focal_losses,
    matchability_losses,
    pairwise_box_costs,
    softmax_class_costs,
    softmax_losses,
    varifocal_losses,
)
from .set_matching import SetMatcher, Targets, most_voted
from .top_queries import top_queries

__all__ = [
    "MLP",
    "BoxAttention",
    "ConvNorm",
    "Decoded",
    "DecoderLayer",
    "DeformableEncoder",
    "DeformableEncoderLayer",
    "DenoisingQueries",
    "EncoderLayer",
    "HungarianMatcher",
    "HybridEncoder",
    "MaskCriterion",
    "Memory",
    "MultiScaleDeformableAttention",
    "PairLosses",
    "Pairs",
    "Predictions",
    "SetCriterion",
    "SetMatcher",
    "Targets",
    "aux_endings",
    "best_instances",
    "best_instances_padded",
    "cell_boxes",
    "cell_centers",
    "choose_cells",
    "cxcywh_to_xyxy",
    "deformable_attention",
    "denoising_queries",
    "distillation_losses",
    "edge_steps",
    "edge_targets",
    "fine_grained_losses",
    "focal_class_costs",
    "focal_losses",
    "grid_position_encoding",
    "hungarian_assignment",
    "inverse_sigmoid",
    "mask_bce_losses",
    "mask_dice_losses",
    "matchability_losses",
    "most_voted",
    "move_edges",
    "pairwise_bce_costs",
    "pairwise_box_costs",
    "pairwise_dice_costs",
    "panoptic_segments",
    "panoptic_segments_padded",
    "place_logits",
    "refine_boxes",
    "semantic_scores",
    "sine_box_encoding",
    "sine_position_encoding",
    "softmax_class_costs",
    "softmax_losses",
    "split_denoising",
    "top_queries",
    "usable_cells",
    "varifocal_losses",
    "visible_cells",
    "xyxy_to_cxcywh",
]
