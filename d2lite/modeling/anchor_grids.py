"""GridOfAnchors: the anchors of a cell, repeated on the cells of every level.

Level i has Hi x Wi cells of a stride and A anchors a cell of D numbers. They are ordered
(Hi, Wi, A).
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ArgumentError, ConfigError
from d2lite.utils.tracing import is_tracing

# Training at many scales has a few dozen sizes; each costs about 4 MB at 800 x 1333 pixels.
_CACHED_SIZES = 16


class BufferList(nn.Module):
    """A list of tensors that move with the model and are not saved.

    Args:
        buffers: the tensors.
    """

    def __init__(self, buffers: Sequence[Tensor]) -> None:
        super().__init__()
        for i, buffer in enumerate(buffers):
            self.register_buffer(str(i), buffer, persistent=False)

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[Tensor]:
        return (tensor for tensor in self._buffers.values() if tensor is not None)


class GridOfAnchors(nn.Module):
    """What upright and rotated anchors share: the anchors of a cell, repeated on cached grids.

    A subclass has `box_dim` numbers a box, makes the anchors of one cell in
    `generate_cell_anchors`, and returns from `_shift_columns` what to add to them for a shift by
    (x, y).

    Args:
        strides: pixels a cell, of each level; None for a subclass that sets all parts by itself.
        offset: where in a cell the centre is, as a share of the stride, in [0, 1).
        **shapes: arguments of `generate_cell_anchors` in order, by their configuration key; a
            list for each level, or one list for all.
    """

    __jit_ignored_attributes__: ClassVar[list[str]] = [
        "_cache",
        "_calculate_anchors",
        "generate_cell_anchors",
    ]
    __jit_unused_properties__: ClassVar[list[str]] = ["num_anchors", "num_cell_anchors"]

    box_dim: int

    def __init__(
        self, strides: Sequence[int] | None = None, offset: float = 0.5, **shapes: Sequence[Any]
    ) -> None:
        super().__init__()
        self._cache: OrderedDict[tuple[Any, ...], list[Tensor]] = OrderedDict()
        if strides is None:
            return
        if not 0.0 <= offset < 1.0:
            raise ConfigError(f"MODEL.ANCHOR_GENERATOR.OFFSET={offset}: use 0 or more, below 1.")
        self.strides = list(strides)
        self.num_features = len(self.strides)
        self.offset = offset
        columns = [_broadcast_params(values, len(strides), key) for key, values in shapes.items()]
        self.cell_anchors = self._calculate_anchors(*columns)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.ANCHOR_GENERATOR` and the strides of the maps."""
        node = cfg.MODEL.ANCHOR_GENERATOR
        return {
            "sizes": node.SIZES,
            "aspect_ratios": node.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": node.OFFSET,
        }

    def _calculate_anchors(self, *columns: Sequence[list[float]]) -> BufferList:
        """The anchors of one cell of each level.

        Args:
            columns: arguments of `generate_cell_anchors` in order, each as a list for each level.
        """
        return BufferList([self.generate_cell_anchors(*row) for row in zip(*columns, strict=True)])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    @property
    def num_cell_anchors(self) -> list[int]:
        """Anchors a cell, of every level."""
        return self.num_anchors

    @property
    def num_anchors(self) -> list[int]:
        """Anchors a cell, of every level: A in the (N, A, Hi, Wi) scores of that level."""
        return [len(cell) for cell in self.cell_anchors]

    def _on_grids(self, features: list[Tensor]) -> list[Tensor]:
        """Repeat the anchors on the grids of feature maps.

        Args:
            features: one (N, C, Hi, Wi) a level; only shape and device matter.

        Returns:
            one (Hi * Wi * A, D) a level, in pixels of the network's input.
        """
        if len(features) != self.num_features:
            raise ArgumentError(
                f"{len(features)} feature maps for an anchor generator of {self.num_features} "
                "levels."
            )
        if is_scripting():
            return self._repeat_all(features)
        return self._repeat_cached(features)

    @torch.jit.unused
    def _repeat_cached(self, features: list[Tensor]) -> list[Tensor]:
        # A traced model must compute the anchors for the maps that it gets.
        if is_tracing():
            return self._repeat_all(features)
        grids = tuple(tuple(feature.shape[-2:]) for feature in features)
        # Tensors made in inference mode cannot be used in training.
        key = (grids, features[0].device, torch.is_inference_mode_enabled())
        anchors = self._cache.pop(key, None)
        if anchors is None:
            anchors = self._repeat_all(features)
        self._cache[key] = anchors
        if len(self._cache) > _CACHED_SIZES:
            self._cache.popitem(last=False)
        return anchors

    def _repeat_all(self, features: list[Tensor]) -> list[Tensor]:
        grids: list[list[int]] = [list(feature.shape[-2:]) for feature in features]
        return [level.to(features[0].device) for level in self._grid_anchors(grids)]

    def _grid_anchors(self, grid_sizes: list[list[int]]) -> list[Tensor]:
        """Repeat the anchors on grids of given sizes.

        Args:
            grid_sizes: Hi, Wi of each level.

        Returns:
            one (Hi * Wi * A, D) a level, on the device of this module.
        """
        cells: list[Tensor] = [cell for _, cell in self.cell_anchors.named_buffers()]
        anchors: list[Tensor] = []
        for i, size in enumerate(grid_sizes):
            cell_AD = cells[i]
            x, y = _create_grid_offsets(size, self.strides[i], self.offset, cell_AD)
            shifts = self._shift_columns(x, y)
            anchors.append((shifts[:, None] + cell_AD[None]).reshape(-1, cell_AD.shape[1]))
        return anchors

    # Subclasses differ in what they take.
    generate_cell_anchors: Any

    def _shift_columns(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError


def _create_grid_offsets(
    size: list[int], stride: int, offset: float, target_device_tensor: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the cells of a grid are.

    Args:
        size: Hi, Wi.
        stride: pixels a cell.
        offset: where in a cell the centre is, as a share of the stride.
        target_device_tensor: on the device of the result.

    Returns:
        (Hi * Wi,) x and y, in pixels, row by row.
    """
    device = target_device_tensor.device
    y = (torch.arange(size[0], dtype=torch.float32, device=device) + offset) * stride
    x = (torch.arange(size[1], dtype=torch.float32, device=device) + offset) * stride
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return xx.reshape(-1), yy.reshape(-1)


def _broadcast_params(params: Sequence[Any], num_features: int, name: str) -> list[list[float]]:
    """One list of numbers a level; a single list, or plain numbers, serve all levels."""
    values = list(params)
    if values and not isinstance(values[0], Sequence):
        values = [values]
    if len(values) == 1:
        values = values * num_features
    if len(values) != num_features or not all(values):
        raise ConfigError(
            f"MODEL.ANCHOR_GENERATOR.{name} has {len(values)} lists for {num_features} feature "
            "maps. Give one non-empty list for all maps, or one for each map of IN_FEATURES."
        )
    return [list(level) for level in values]
