"""The contract that every backbone keeps."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from d2lite.layers import FrozenBatchNorm2d, ShapeSpec
from d2lite.utils.errors import ArgumentError, ConfigError

__all__ = ["Backbone"]


class Backbone(nn.Module, ABC):
    """A network from images to named feature maps.

    A subclass lists its maps in `_out_features` and their sizes in `_out_feature_channels` and
    `_out_feature_strides` (dicts by name), or overrides `output_shape`.
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["size_divisibility", "padding_constraints"]

    _size_divisibility: int = 0
    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, Any]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            x: (N, C, H, W) float, normalised images.

        Returns:
            name -> (N, channels, H / stride, W / stride), names as in `output_shape`.
        """

    @property
    def size_divisibility(self) -> int:
        """Image height and width must be multiples of this; 0 where any size will do."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further demands on the padded size: `size_divisibility`, `square_size` (pixels)."""
        return {}

    def _frozen_modules(self) -> Iterable[nn.Module]:
        """Modules that stay as in evaluation, so that nothing random or moving is in them."""
        return ()

    def train(self, mode: bool = True) -> "Backbone":
        """As `Module.train`; what is frozen stays as in evaluation."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map, by name."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


class StagedBackbone(Backbone):
    """A stem and stages of blocks, one after the other.

    A subclass has `stem` and a module for each of `stage_names`, whose children are the blocks.
    """

    # TorchScript reads annotations of a class, and knows no Any.
    if TYPE_CHECKING:
        stem: Any
        stage_names: tuple[str, ...]

    def run_stages(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The wanted maps of (N, C, H, W) images by name, and the map of the last stage."""
        if x.dim() != 4:
            raise ArgumentError(
                f"The backbone takes (N, C, H, W), not a tensor of shape {list(x.shape)}."
            )
        maps: dict[str, Tensor] = {}
        x = self.stem(x)
        if "stem" in self._out_features:
            maps["stem"] = x
        # TorchScript knows modules by name only where it goes through the children.
        for name, child in self.named_children():
            if name in self.stage_names:
                x = child(x)
                if name in self._out_features:
                    maps[name] = x
        return maps, x

    def freeze(self, freeze_at: int = 0) -> "StagedBackbone":
        """Fix the first layers: no gradient, and batch norm with the statistics that it has.

        Args:
            freeze_at: 0 nothing, 1 the stem, 2 the stem and the first stage, and so on.

        Returns:
            itself.
        """
        stages = [list(getattr(self, name).children()) for name in self.stage_names]
        for blocks in [[self.stem], *stages][: max(freeze_at, 0)]:
            for block in blocks:
                block.freeze()
        return self


class HalvingBackbone(Backbone):
    """A first part and stages, each of which halves the map; modules of any names."""

    def _name_stages(
        self,
        parts: Sequence[str],
        channels: Mapping[str, int],
        out_features: Sequence[str],
        *,
        stride: int,
        freeze_at: int,
    ) -> None:
        """Set the names and sizes of the maps, and fix the first parts.

        Args:
            parts: the attributes of the first part and of each stage.
            channels: of each stage's map, by the name of the map.
            out_features: maps to return.
            stride: of the first stage's map.
            freeze_at: 0 trains all, 1 fixes the first part, 2 the first stage too, and so on.
        """
        self._parts = list(parts)
        self._out_features = list(out_features)
        self._out_feature_channels = dict(channels)
        self._out_feature_strides = {name: stride * 2**i for i, name in enumerate(channels)}
        self._size_divisibility = stride * 2 ** (len(channels) - 1)
        for name in self._parts[: max(freeze_at, 0)]:
            part = getattr(self, name)
            part.requires_grad_(False)
            FrozenBatchNorm2d.convert_frozen_batchnorm(part)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> the wanted maps by name; H and W are multiples of 32."""
        maps = {}
        first, *stages = (getattr(self, name) for name in self._parts)
        x = first(x)
        for name, stage in zip(self._out_feature_channels, stages, strict=True):
            x = stage(x)
            if name in self._out_features:
                maps[name] = x
        return maps


class PyramidBackbone(Backbone):
    """Maps "p2", "p3", ... of one width, named after the logarithm of their stride."""

    _square_pad: int = 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The side of a square as `square_size`, in pixels; 0 for any shape."""
        return {"square_size": self._square_pad}

    def _name_maps(self, levels: Sequence[int], channels: int, top_block: Any) -> None:
        """Set the names and sizes of the maps.

        Args:
            levels: logarithms of the strides, fine to coarse.
            channels: of every map.
            top_block: makes `num_levels` coarser maps; None for none.
        """
        num_above = 0 if top_block is None else top_block.num_levels
        first_above = levels[-1] + 1
        levels = [*levels, *range(first_above, first_above + num_above)]
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, channels)


def check_maps(
    network: str,
    wanted: Sequence[str],
    known: Sequence[str],
    key: str,
    fix: str = "Choose among these.",
) -> None:
    """Refuse maps that a network does not have.

    Args:
        network: what to call the network in the message, such as "a ResNet".
        wanted: names that somebody asked for.
        known: names that there are.
        key: the keys of the configuration that choose.
        fix: what to do.

    Raises:
        ConfigError: if a wanted name is not known, or none is wanted.
    """
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ConfigError(
            f"{key} asks {network} for the maps {unknown or list(wanted)}; it has {list(known)}. "
            f"{fix}"
        )
