"""Where objects may be; importing this registers the ways to find out."""

from .build import (
    PROPOSAL_GENERATOR_REGISTRY,
    RPN_HEAD_REGISTRY,
    build_proposal_generator,
    build_rpn_head,
)
from .proposal_utils import add_ground_truth_to_proposals, find_top_rpn_proposals
from .rpn import RPN
from .rpn_head import StandardRPNHead
from .rrpn import RRPN

__all__ = [
    "PROPOSAL_GENERATOR_REGISTRY",
    "RPN",
    "RPN_HEAD_REGISTRY",
    "RRPN",
    "StandardRPNHead",
    "add_ground_truth_to_proposals",
    "build_proposal_generator",
    "build_rpn_head",
    "find_top_rpn_proposals",
]
