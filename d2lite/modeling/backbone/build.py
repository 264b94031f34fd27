"""The registry of backbones, and how one is made from a configuration."""

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError
from d2lite.utils.registry import Registry

from .backbone import Backbone

__all__ = ["BACKBONE_REGISTRY", "build_backbone"]

BACKBONE_REGISTRY = Registry(
    "BACKBONE",
    reserved=(
        "build_resnet_backbone",
        "build_resnet_fpn_backbone",
        "build_retinanet_resnet_fpn_backbone",
    ),
)
BACKBONE_REGISTRY.__doc__ = """
Backbones by name: callables of (cfg, input_shape: ShapeSpec) that return a `Backbone`.

Add a class or function of your own with `@BACKBONE_REGISTRY.register()` and choose it by
`MODEL.BACKBONE.NAME`.
"""


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Make the backbone that `MODEL.BACKBONE.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: of the images; as many channels as `MODEL.PIXEL_MEAN` has
            numbers when left out.

    Raises:
        ConfigError: if what is registered under the name does not make a `Backbone`.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    name = cfg.MODEL.BACKBONE.NAME
    # "timm:resnet50": the builder named "timm" reads the part after the colon.
    backbone = BACKBONE_REGISTRY.get(name.partition(":")[0])(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise ConfigError(
            f"MODEL.BACKBONE.NAME={name!r} made a {type(backbone).__name__}, which is not a "
            "Backbone. Let its class inherit from d2lite.modeling.Backbone."
        )
    return backbone
