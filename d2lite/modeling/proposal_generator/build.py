"""The registry of proposal generators, and how one is made from a configuration."""

from torch import nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.registry import Registry

__all__ = [
    "PROPOSAL_GENERATOR_REGISTRY",
    "RPN_HEAD_REGISTRY",
    "build_proposal_generator",
    "build_rpn_head",
]

PROPOSAL_GENERATOR_REGISTRY = Registry(
    "PROPOSAL_GENERATOR",
    reserved=(
        "RPN",
        "RRPN",
    ),
)
PROPOSAL_GENERATOR_REGISTRY.__doc__ = """
Proposal generators by name: callables of (cfg, input_shape: dict[str, ShapeSpec]) that return a
module from (images, features, gt_instances) to (proposals, losses), chosen by
`MODEL.PROPOSAL_GENERATOR.NAME`.
"""

RPN_HEAD_REGISTRY = Registry("RPN_HEAD", reserved=("StandardRPNHead",))
RPN_HEAD_REGISTRY.__doc__ = """
Heads of a region proposal network by name: callables of (cfg, input_shape: list[ShapeSpec]) that
return a module from feature maps to objectness logits and anchor deltas of each, chosen by
`MODEL.RPN.HEAD_NAME`.
"""


def build_proposal_generator(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module | None:
    """Make the proposal generator that `MODEL.PROPOSAL_GENERATOR.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps of the backbone, by name.

    Returns:
        None for "PrecomputedProposals": then they come with the data.
    """
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == "PrecomputedProposals":
        return None
    return PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape)


def build_rpn_head(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """Make the head that `MODEL.RPN.HEAD_NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps that the head is given.
    """
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)
