"""The registry of whole models, and how one is made from a configuration."""

from torch import nn

from d2lite.config import CfgNode
from d2lite.utils.env import resolve_device
from d2lite.utils.registry import Registry

__all__ = ["META_ARCH_REGISTRY", "build_model"]

META_ARCH_REGISTRY = Registry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = """
Whole models by name: callables of (cfg) that return a module, chosen by
`MODEL.META_ARCHITECTURE`. In training the module turns a batch into a dict of losses, otherwise
into one dict of results an image.
"""


def build_model(cfg: CfgNode) -> nn.Module:
    """Make the model that `MODEL.META_ARCHITECTURE` names, on `MODEL.DEVICE`.

    No weights are loaded; a checkpointer does that.

    Args:
        cfg: the configuration.

    Returns:
        the model, in training mode. Where nobody set `MODEL.DEVICE`, it lies on the best device
        that this machine has.

    Raises:
        UnknownNameError: if nothing is registered under the name.
        DeviceError: if a device was asked for that is missing.
    """
    device = resolve_device(cfg.MODEL.DEVICE, was_set=not cfg.is_default("MODEL.DEVICE"))
    return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).to(device)
