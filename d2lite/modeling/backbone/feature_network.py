"""FeatureNetwork: any network that returns a list of maps, as a backbone."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from d2lite.utils.errors import ConfigError

from .backbone import Backbone, check_maps

# Side of the image of zeros that strides and channels are read from, in pixels.
PROBE_SIZE = 128


class FeatureNetwork(Backbone):
    """A network that returns a list of maps, as a backbone; they are named after their strides.

    Args:
        net: (N, C, H, W) images to a list of maps, fine to coarse.
        in_channels: channels of the images.
        out_features: names of the maps to return; all when left out.
        freeze_at: fix everything that the map "res{freeze_at}" is computed from; 0 for nothing.
        freeze_norm: fix the statistics and weights of all batch norms.

    Raises:
        ConfigError: if maps are missing, or their sizes are not a power of two below the image's.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        in_channels: int = 3,
        out_features: Sequence[str] = (),
        freeze_at: int = 0,
        freeze_norm: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        maps = probe(net, in_channels)
        self._index = {_name_of(map_): i for i, map_ in enumerate(maps)}
        deepest = {name: maps[i] for name, i in self._index.items()}
        wanted = list(out_features or deepest)
        keys = "MODEL.ADAPTER.OUT_FEATURES or MODEL.FPN.IN_FEATURES"
        check_maps("the network", wanted, list(deepest), keys)
        self._out_features = wanted
        self._out_feature_channels = {n: deepest[n].shape[1] for n in self._out_features}
        self._out_feature_strides = {
            n: PROBE_SIZE // deepest[n].shape[2] for n in self._out_features
        }
        # The coarsest stride: other sizes would be rounded differently by each network.
        self._size_divisibility = max(self._out_feature_strides.values())
        self._fixed: list[str] = []
        self._freeze(deepest, freeze_at, freeze_norm)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the wanted maps.

        Args:
            x: (N, C, H, W) float; H and W multiples of `size_divisibility`.

        Returns:
            name -> (N, channels, H / stride, W / stride).
        """
        maps = self.net(x)
        return {name: maps[self._index[name]] for name in self._out_features}

    def _frozen_modules(self) -> Iterable[nn.Module]:
        return map(self.get_submodule, self._fixed)

    def _freeze(self, maps: dict[str, Tensor], freeze_at: int, freeze_norm: bool) -> None:
        parameters = list(self.parameters())
        if freeze_at > 0:
            if f"res{freeze_at}" not in maps:
                raise ConfigError(
                    f"MODEL.BACKBONE.FREEZE_AT={freeze_at} fixes what the map of stride "
                    f"{2**freeze_at} comes from, but the network's maps are {list(maps)} (resN has "
                    "stride 2 ** N). Use one of these numbers, or 0 to freeze nothing."
                )
            _stop_learning(parameters, maps[f"res{freeze_at}"], used=True)
        # Left in, a parameter without gradient stops distributed training.
        wanted = torch.stack([maps[name].sum() for name in self._out_features])
        _stop_learning(parameters, wanted, used=False)
        for name, module in self.named_modules():
            own = list(module.parameters(recurse=False))
            is_norm = getattr(module, "running_mean", None) is not None
            if freeze_norm and is_norm:
                module.requires_grad_(False)
            if own and not any(p.requires_grad for p in own):
                self._fixed.append(name)
        self.train(self.training)


def probe(net: nn.Module, in_channels: int, side: int = PROBE_SIZE) -> list[Tensor]:
    """The maps of a square image of zeros, with their graph; `net` returns a list or a dict."""
    was_training = net.training
    net.eval()
    try:
        with torch.enable_grad():
            maps = net(torch.zeros(1, in_channels, side, side))
    except (RuntimeError, ValueError, AssertionError, TypeError) as err:
        raise ConfigError(
            f"The network of MODEL.BACKBONE.NAME does not take an image of {side} x {side} pixels: "
            f"{err} A detector needs one that takes any size. Some do with an option of their own, "
            "for instance MODEL.ADAPTER.OPTIONS.dynamic_img_size True."
        ) from err
    finally:
        net.train(was_training)
    return list(maps.values() if isinstance(maps, dict) else maps)


def _name_of(map_: Tensor) -> str:
    height, width = map_.shape[-2:] if map_.dim() == 4 else (0, 0)
    stride = PROBE_SIZE // height if height else 0
    if height != width or stride * height != PROBE_SIZE or stride & (stride - 1):
        raise ConfigError(
            f"The network of MODEL.BACKBONE.NAME makes a map of shape {tuple(map_.shape)} of "
            f"an image of {PROBE_SIZE} x {PROBE_SIZE} pixels. A detector needs (N, C, H, W) and a "
            "stride that is a power of two; choose another network."
        )
    return f"res{stride.bit_length() - 1}"


def _stop_learning(parameters: list[nn.Parameter], source: Tensor, *, used: bool) -> None:
    """Take the gradient from the parameters that `source` depends on, or (not used) does not."""
    learning = [p for p in parameters if p.requires_grad]
    if not source.requires_grad:
        reached: Sequence[Tensor | None] = [None] * len(learning)
    else:
        reached = torch.autograd.grad(source.sum(), learning, retain_graph=True, allow_unused=True)
    for parameter, gradient in zip(learning, reached, strict=True):
        if (gradient is not None) == used:
            parameter.requires_grad_(False)
