"""The block that both branches consist of: convolution, norm, ReLU, in AdelaiDet's order."""

from torch import nn

from d2lite.layers import get_norm
from d2lite.modeling.weight_init import msra_fill, normal_fill
from d2lite.utils.errors import ConfigError

from .deform import DeformBlock


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    *,
    norm: str,
    kernel_size: int = 3,
    deform: str = "",
    init: str = "normal",
) -> nn.Sequential:
    """A size-keeping convolution, its norm and a ReLU, named 0, 1 and 2.

    Args:
        in_channels: channels coming in.
        out_channels: channels going out.
        norm: any name of `get_norm`; "" and "none" give the convolution a bias instead.
        kernel_size: odd.
        deform: "", "DCN" or "DCNv2".
        init: of the convolution's weights: "normal" or "kaiming".

    Raises:
        ConfigError: for an unknown norm, deformable type or init.
    """
    if init not in ("normal", "kaiming"):
        raise ConfigError(f"MODEL.SOLOV2.CONV_INIT is {init!r}; use 'normal' or 'kaiming'.")
    has_norm = norm not in ("", "none")
    if deform:
        conv: nn.Module = DeformBlock(in_channels, out_channels, kind=deform, bias=not has_norm)
    else:
        conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not has_norm
        )
        if init == "normal":
            normal_fill(conv, std=0.01)
        else:
            msra_fill(conv)
    if not has_norm:
        return nn.Sequential(conv, nn.ReLU(inplace=True))
    if norm == "GN" and out_channels % 32:
        raise ConfigError(
            f"MODEL.SOLOV2.NORM is GN, which needs channels in multiples of 32; found "
            f"{out_channels}. Change INSTANCE_CHANNELS, MASK_CHANNELS or NUM_MASKS."
        )
    return nn.Sequential(conv, get_norm(norm, out_channels) or nn.Identity(), nn.ReLU(inplace=True))
