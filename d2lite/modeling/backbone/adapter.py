"""Networks of timm and torchvision as backbones, by name.

`MODEL.BACKBONE.NAME: "timm:convnext_tiny"` or `"torchvision:resnet50"` takes the network without
its classifier. Its maps are called after their stride, the deepest one of each stride: "res1" for
2 pixels a cell, "res2" for 4, up to "res5" for 32, as those of a ResNet.

Which maps come out: `MODEL.ADAPTER.OUT_FEATURES`, else `MODEL.FPN.IN_FEATURES`, else all. If
`MODEL.FPN.IN_FEATURES` is not empty, the pyramid of `MODEL.FPN` is put on them, as
`pyramid.build_pyramid` says. `MODEL.BACKBONE.FREEZE_AT` k fixes what "resk" is computed from.
`MODEL.ADAPTER.FREEZE_NORM` fixes all batch norms, and `MODEL.ADAPTER.OPTIONS` are further
arguments of the network, for instance `{drop_path_rate: 0.1}` or `{dynamic_img_size: True}`.

Weights are never downloaded here; `MODEL.WEIGHTS` may name a file of the network's own weights.
"""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError, UnknownNameError

from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .feature_network import PROBE_SIZE, FeatureNetwork, probe
from .pyramid import build_pyramid


@BACKBONE_REGISTRY.register()
def timm(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """The network of timm that `MODEL.BACKBONE.NAME: "timm:NAME"` names; see the file's text."""
    library, name = timm_network(cfg, "timm:resnet50")
    options = adapter_options(cfg, "pretrained", "features_only", "feature_cls", "in_chans")

    def make(**chosen: object) -> Any:
        return library.create_model(
            name,
            pretrained=False,
            features_only=True,
            # Keeps the names of the parameters, unlike timm's other ways.
            feature_cls="getter",
            in_chans=input_shape.channels,
            **options,
            **chosen,
        )

    net = make_network(cfg, make)
    wanted = _wanted_features(cfg)
    strides = net.feature_info.reduction()
    deepest = {f"res{stride.bit_length() - 1}": i for i, stride in enumerate(strides)}
    if "out_indices" not in options and wanted and set(wanted) <= set(deepest):
        numbers = [net.feature_info.out_indices[i] for n, i in deepest.items() if n in wanted]
        below = cfg.MODEL.BACKBONE.FREEZE_AT
        if f"res{below}" in deepest:
            numbers.append(net.feature_info.out_indices[deepest[f"res{below}"]])
        if max(numbers) < max(net.feature_info.out_indices):
            # The stages after the last wanted map are not made at all.
            net = make_network(cfg, lambda: make(out_indices=tuple(sorted(set(numbers)))))
    return _as_backbone(cfg, net, input_shape.channels)


@BACKBONE_REGISTRY.register()
def torchvision(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """The network of torchvision that `"torchvision:NAME"` names; see the file's text.

    Those that are a chain of modules will do: ResNet, ResNeXt, RegNet, ConvNeXt, EfficientNet,
    MobileNet, MNASNet, DenseNet, ShuffleNet, VGG, Swin and more.
    """
    name = _network_name(cfg, "torchvision:resnet50")
    models = importlib.import_module("torchvision.models")
    if name not in models.list_models(module=models):
        raise UnknownNameError(
            f"torchvision has no classifier {name!r}. Known: "
            f"{', '.join(models.list_models(module=models))}."
        )
    if input_shape.channels != 3:
        raise ConfigError(
            f"Networks of torchvision take 3 channels, not {input_shape.channels} "
            "(MODEL.PIXEL_MEAN has one number a channel). Take one of timm."
        )
    options = adapter_options(cfg, "weights", "name")
    model = make_network(cfg, lambda: models.get_model(name, weights=None, **options))
    net = _ModuleChain(
        model, channels_last=isinstance(model, models.SwinTransformer), wanted=_wanted_features(cfg)
    )
    return _as_backbone(cfg, net, input_shape.channels)


class _ModuleChain(nn.Module):
    """A classifier cut to its chain of modules; its maps are the last ones of each stride.

    Args:
        model: the classifier, whose names of parameters stay.
        channels_last: its maps are (N, H, W, C).
        wanted: names of the maps that are needed; later modules are removed.
    """

    def __init__(self, model: nn.Module, *, channels_last: bool, wanted: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._channels_last = channels_last
        self._steps = _chain_of(model)
        self._taps: list[int] = list(range(len(self._steps)))
        last = {map_.shape[-1]: i for i, map_ in enumerate(probe(self, 3))}
        names = {f"res{(PROBE_SIZE // side).bit_length() - 1}": i for side, i in last.items()}
        ends = [names[name] for name in wanted if name in names]
        end = max(ends) if ends and len(ends) == len(wanted) else max(last.values())
        self._taps = [i for i in last.values() if i <= end]
        self._steps = self._steps[: end + 1]
        _remove_all_but(model, self._steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, step in enumerate(self._steps):
            x = self.model.get_submodule(step)(x)
            if i in self._taps:
                maps.append(x.permute(0, 3, 1, 2) if self._channels_last else x)
        return maps


# What a classifier does after its last map, or beside its maps in training.
_HEADS = {
    *("aux1", "aux2", "avgpool", "classifier", "dropout", "fc", "flatten"),
    *("head", "heads", "norm", "permute"),
}
_BODIES = ("features", "layers", "stem", "trunk_output")


def _chain_of(model: nn.Module) -> list[str]:
    """Addresses of the modules that make the maps, in order."""
    steps = []
    for name, child in model.named_children():
        if name in _BODIES and isinstance(child, nn.Sequential):
            steps += [f"{name}.{inner}" for inner, _ in child.named_children()]
        elif name not in _HEADS and not isinstance(child, (nn.Linear, nn.AdaptiveAvgPool2d)):
            steps.append(name)
    return steps


def _remove_all_but(model: nn.Module, steps: Sequence[str]) -> None:
    for name, child in list(model.named_children()):
        kept = {step.partition(".")[2] for step in steps if step.partition(".")[0] == name}
        if not kept:
            delattr(model, name)
        elif "" not in kept:
            for inner, _ in list(child.named_children()):
                if inner not in kept:
                    delattr(child, inner)


def _as_backbone(cfg: CfgNode, net: nn.Module, in_channels: int) -> Backbone:
    backbone = FeatureNetwork(
        net,
        in_channels=in_channels,
        out_features=_wanted_features(cfg),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        freeze_norm=cfg.MODEL.ADAPTER.FREEZE_NORM,
    )
    return build_pyramid(cfg, backbone) if cfg.MODEL.FPN.IN_FEATURES else backbone


def _wanted_features(cfg: CfgNode) -> list[str]:
    return list(cfg.MODEL.ADAPTER.OUT_FEATURES or cfg.MODEL.FPN.IN_FEATURES)


def timm_network(cfg: CfgNode, example: str) -> tuple[ModuleType, str]:
    """The library timm, and the network of it that `MODEL.BACKBONE.NAME` names after the colon.

    Args:
        cfg: the configuration.
        example: of such a name, for the message where the colon is missing.

    Raises:
        ConfigError: without a name, or if timm cannot be imported.
        UnknownNameError: if timm does not have the network; the message lists similar ones.
    """
    name = _network_name(cfg, example)
    library = _import("timm")
    if not library.is_model(name):
        near = library.list_models(f"*{name.split('_')[0]}*")[:12]
        raise UnknownNameError(
            f"timm {library.__version__} has no network {name!r}."
            + (f" Similar: {', '.join(near)}." if near else "")
            + " `timm.list_models()` lists all."
        )
    return library, name


def _network_name(cfg: CfgNode, example: str) -> str:
    source, _, network = cfg.MODEL.BACKBONE.NAME.partition(":")
    if not network:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME={source!r} does not name a network; write for "
            f"instance {example!r}."
        )
    return network


def adapter_options(cfg: CfgNode, *reserved: str) -> dict[str, object]:
    """`MODEL.ADAPTER.OPTIONS` as a dict; names in `reserved` are refused."""
    options = dict(cfg.MODEL.ADAPTER.OPTIONS)
    wrong = [key for key in options if key in reserved]
    if wrong:
        raise ConfigError(
            f"MODEL.ADAPTER.OPTIONS sets {wrong}, which the adapter sets itself. Name weights in "
            "MODEL.WEIGHTS and maps in MODEL.ADAPTER.OUT_FEATURES."
        )
    return options


def make_network(cfg: CfgNode, make: Callable[[], Any]) -> Any:
    """What `make` returns; an error of the library is reported with the options that it got."""
    try:
        return make()
    except (TypeError, AttributeError, AssertionError, RuntimeError, ValueError) as err:
        raise ConfigError(
            f"{cfg.MODEL.BACKBONE.NAME!r} cannot be made with MODEL.ADAPTER.OPTIONS="
            f"{dict(cfg.MODEL.ADAPTER.OPTIONS)}: {err}"
        ) from err


def _import(library: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except ImportError as err:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME asks for a network of {library}, which cannot be imported "
            f"({err}). Install it: pip install {library}"
        ) from err
