"""The registry of whole models, and how one is made from a configuration."""

import torch
from torch import nn

from d2lite.config import CfgNode, PythonRunConfig, as_run_config
from d2lite.utils.env import resolve_device
from d2lite.utils.registry import Registry

__all__ = ["META_ARCH_REGISTRY", "build_model"]

META_ARCH_REGISTRY = Registry(
    "META_ARCH",
    reserved=(
        "GeneralizedRCNN",
        "PanopticFPN",
        "ProposalNetwork",
        "RetinaNet",
        "SemanticSegmentor",
    ),
)
META_ARCH_REGISTRY.__doc__ = """
Whole models by name: callables of (cfg) that return a module, chosen by
`MODEL.META_ARCHITECTURE`. In training the module turns a batch into a dict of losses, otherwise
into one dict of results an image.
"""


def build_model(cfg: CfgNode) -> nn.Module:
    """Make the model that `MODEL.META_ARCHITECTURE` names, on `MODEL.DEVICE`, in its memory order.

    No weights are loaded; a checkpointer does that.

    Args:
        cfg: the configuration; a `PythonRunConfig` describes its model itself.

    Returns:
        the model, in training mode. Where `MODEL.DEVICE` is not set, it is on the best device of
        this machine.

    Raises:
        UnknownNameError: if nothing is registered under the name.
        DeviceError: if the device that was asked for is missing.
    """
    cfg = as_run_config(cfg)
    device = resolve_device(cfg.MODEL.DEVICE, was_set=not cfg.is_default("MODEL.DEVICE"))
    order = torch.channels_last if cfg.MODEL.CHANNELS_LAST else torch.preserve_format
    if isinstance(cfg, PythonRunConfig):
        model = cfg.make("model")
    else:
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(device, memory_format=order)
