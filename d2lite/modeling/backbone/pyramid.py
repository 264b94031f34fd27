"""The feature pyramid on any bottom-up network, as a configuration asks for it."""

from torch import nn

from d2lite.config import CfgNode

from .backbone import Backbone, PyramidBackbone
from .fpn import LastLevelMaxPool, LastLevelP6P7, make_pyramid


def build_top_block(
    cfg: CfgNode, in_feature: str, in_channels: int, *, level: int
) -> nn.Module | None:
    """Choose what makes the maps above the pyramid from what the detector asks for.

    An architecture whose own section lists "p7" in IN_FEATURES (`MODEL.RETINANET.IN_FEATURES`
    for `MODEL.META_ARCHITECTURE: RetinaNet`) gets "p6" and "p7" by convolutions on the map below;
    every other one gets "p6" by pooling "p5". A pyramid that does not end at "p5" gets nothing.

    Args:
        cfg: the configuration.
        in_feature: name of the map that "p6" of the first kind is made from.
        in_channels: its channels.
        level: logarithm of the stride of the coarsest map of the pyramid.
    """
    if level != 5:
        return None
    if "p7" in maps_of_architecture(cfg):
        return LastLevelP6P7(in_channels, cfg.MODEL.FPN.OUT_CHANNELS, in_feature)
    return LastLevelMaxPool()


def maps_of_architecture(cfg: CfgNode) -> list[str]:
    """The maps that the architecture's own section names, as `MODEL.RETINANET.IN_FEATURES` does."""
    section = cfg.MODEL.get(cfg.MODEL.META_ARCHITECTURE.upper())
    return list(section.get("IN_FEATURES", ())) if isinstance(section, CfgNode) else []


def build_pyramid(cfg: CfgNode, bottom_up: Backbone, *, square_pad: int = 0) -> PyramidBackbone:
    """Put the pyramid of `MODEL.FPN` on a network, with the maps of `build_top_block` above.

    Args:
        cfg: the configuration.
        bottom_up: the network below; `MODEL.FPN.IN_FEATURES` names maps of it.
        square_pad: pad images to a square of at least so many pixels a side; 0 for any shape.
    """
    node = cfg.MODEL.FPN
    top_block = None
    coarsest = node.IN_FEATURES[-1] if node.IN_FEATURES else ""
    # A name that the network lacks is FPN's to refuse.
    if coarsest in bottom_up.output_shape():
        shape = bottom_up.output_shape()[coarsest]
        level = shape.stride.bit_length() - 1
        top_block = build_top_block(cfg, coarsest, shape.channels, level=level)
    return make_pyramid(cfg, bottom_up, top_block, square_pad)
