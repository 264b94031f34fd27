"""Vision transformers of timm (DINOv2, DINOv3, EVA-02, SAM, MAE, CLIP ...) as plain backbones.

`MODEL.BACKBONE.NAME: "timm_vit:vit_small_patch14_dinov2"` takes the one map of the network, with
the stride of its patches; "timm_vit_fpn:..." puts the simple pyramid "p2" to "p5" on it. Weights
are those of `MODEL.WEIGHTS`: a file or folder, or "hf://timm/vit_small_patch14_dinov2.lvd142m".

N images, H x W cells, P tokens before those of the cells, D channels, w windows of an image with n
cells each.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError, UnknownNameError

from .adapter import adapter_options, make_network, timm_network
from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .feature_network import probe
from .pyramid import build_top_block, maps_of_architecture
from .simple_pyramid import SimpleFeaturePyramid
from .utils import window_partition, window_unpartition
from .vit import freeze_blocks

_STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
_EXAMPLE = "timm_vit_fpn:vit_small_patch14_dinov2"


class TimmViT(Backbone):
    """The last map of a vision transformer of timm, after its final norm (SAM: its neck).

    Position embeddings are resized to the image by timm; images may have any size.

    Args:
        net: made by timm, without its classifier; it has `blocks`.
        in_channels: of the images.
        stride: of the map, in pixels; None for the side of a patch. Images are resized so that a
            patch covers so much of the original, for parts that need powers of two.
        window_size: side of the windows, in patches; 0 for none. Tokens that belong to no cell
            (class, registers) are in every window, and are averaged over the windows afterwards.
        global_blocks: numbers of the blocks that see the whole map nevertheless.
        freeze_at: see `freeze_blocks`.
        use_act_checkpoint: compute the blocks again in the backward pass, to save memory.
        out_feature: name of the map.

    Raises:
        ConfigError: if the network is not a transformer of one stride, or windows do not fit it.
    """

    def __init__(
        self,
        net: Any,
        *,
        in_channels: int = 3,
        stride: int | None = None,
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
        freeze_at: int = 0,
        use_act_checkpoint: bool = False,
        out_feature: str = "last_feat",
    ) -> None:
        super().__init__()
        self.net = net
        self._patch = _patch_side(net)
        stride = stride or self._patch
        self._out_features = [out_feature]
        self._out_feature_strides = {out_feature: stride}
        self._size_divisibility = stride
        net.set_grad_checkpointing(use_act_checkpoint)
        self._window_size = window_size
        if window_size:
            self._add_windows(global_blocks)
        self._fixed = freeze_blocks(net, net.blocks, freeze_at, last=("norm", "neck"))
        map_ = probe(self, in_channels, side=4 * stride)[0]
        self._out_feature_channels = {out_feature: map_.shape[1]}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the map.

        Args:
            x: (N, C, H, W) float; H and W multiples of `size_divisibility`.

        Returns:
            `out_feature` -> (N, D, H / stride, W / stride).
        """
        maps = self.net.forward_intermediates(
            self._resized(x), indices=1, norm=True, intermediates_only=True
        )
        return {self._out_features[0]: maps[0]}

    def _frozen_modules(self) -> Iterable[nn.Module]:
        return self._fixed

    @property
    def takes_tokens(self) -> bool:
        """Whether `first_tokens` and `run_block` can be used: no windows, tokens in one row."""
        return not self._window_size and not hasattr(self.net, "neck")

    def first_tokens(self, x: Tensor) -> tuple[Tensor, Any, tuple[int, int]]:
        """What the first block is given, for models that run the blocks themselves.

        Args:
            x: as in `forward`.

        Returns:
            (N, P + H * W, D) tokens, rotary positions for `run_block`, and (H, W).
        """
        x = self._resized(x)
        tokens = self.net._pos_embed(self.net.patch_embed(x))
        tokens, rope = tokens if isinstance(tokens, tuple) else (tokens, None)
        return self.net.norm_pre(tokens), rope, self._grid

    def run_block(
        self, number: int, tokens: Tensor, rope: Any, mask: Tensor | None, *, num_added: int = 0
    ) -> Tensor:
        """Run one block on tokens, to which others may have been added in front.

        Args:
            number: of the block.
            tokens: (N, num_added + P + H * W, D).
            rope: of `first_tokens`.
            mask: (N, 1, L, L) bool, true where a token (third axis) sees another; None for all.
            num_added: tokens in front, which have no place in the image.
        """
        block = self.net.blocks[number]
        options: dict[str, Any] = {"attn_mask": mask}
        if rope is not None:
            mixed = getattr(self.net, "rope_mixed", False)
            options["rope"] = rope[number] if mixed else rope
            block.attn.num_prefix_tokens = self.net.num_prefix_tokens + num_added
        if self.net.grad_checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, tokens, use_reentrant=False, **options)
        else:
            out = block(tokens, **options)
        return out

    def _resized(self, x: Tensor) -> Tensor:
        """Images in which a patch covers a stride, and the grid of their cells, for the blocks."""
        stride = self.size_divisibility
        self._grid = (x.shape[-2] // stride, x.shape[-1] // stride)
        if stride == self._patch:
            return x
        size = [self._patch * side for side in self._grid]
        return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)

    def _add_windows(self, global_blocks: Sequence[int]) -> None:
        if hasattr(self.net, "neck"):
            raise ConfigError(
                "MODEL.TIMM_VIT.WINDOW_SIZE is set, but this network has windows of its own; leave "
                "the key 0, or set MODEL.ADAPTER.OPTIONS.window_size 14."
            )
        # Hooks, since other modules around the blocks would change the names of the parameters.
        for i, block in enumerate(self.net.blocks):
            if i not in global_blocks:
                block.register_forward_pre_hook(self._to_windows, with_kwargs=True)
                block.register_forward_hook(self._from_windows)

    def _to_windows(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(N, P + H * W, D) tokens of images to (N * w, P + n, D) of windows."""
        tokens, *rest = args
        images, prefix = tokens.shape[0], tokens.shape[1] - math.prod(self._grid)
        cells = self._windows(tokens[:, prefix:])
        copies = tokens[:, :prefix].repeat_interleave(len(cells) // images, 0)
        rope = kwargs.get("rope")
        if rope is not None:
            # (H * W, 2 * D / heads), or one for each head.
            of_heads = self._windows(rope if rope.dim() == 3 else rope[None])
            by_window = of_heads.unflatten(0, (-1, len(cells) // images)).transpose(0, 1)
            kwargs = {**kwargs, "rope": by_window.repeat(images, 1, 1, 1)}
        if any(side % self._window_size for side in self._grid):
            inside = self._windows(tokens.new_ones(1, math.prod(self._grid), 1))[..., 0] > 0
            seen = F.pad(inside, (prefix, 0), value=True)
            kwargs = {**kwargs, "attn_mask": seen.repeat(images, 1)[:, None, None]}
        return (torch.cat([copies, cells], 1), *rest), kwargs

    def _windows(self, cells: Tensor) -> Tensor:
        """(N, H * W, D) -> (N * w, n, D)."""
        grid = cells.unflatten(1, self._grid)
        return window_partition(grid, self._window_size)[0].flatten(1, 2)

    def _from_windows(self, block: nn.Module, args: tuple[Any, ...], tokens: Tensor) -> Tensor:
        """(N * w, P + n, D) tokens of windows to (N, P + H * W, D) of images."""
        side = self._window_size
        prefix = tokens.shape[1] - side * side
        padded = [-(-cells // side) * side for cells in self._grid]
        grid = tokens[:, prefix:].unflatten(1, (side, side))
        cells = window_unpartition(grid, side, padded, self._grid).flatten(1, 2)
        windows = math.prod(padded) // side**2
        shared = tokens[:, :prefix].unflatten(0, (-1, windows)).mean(1)
        return torch.cat([shared, cells], 1)


def _patch_side(net: Any) -> int:
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    if patch is None or patch[0] != patch[1] or not hasattr(net, "blocks"):
        raise ConfigError(
            f"MODEL.BACKBONE.NAME asks for a {type(net).__name__} as a plain vision transformer, "
            'which it is not: it lacks square patches and a list of blocks. Write "timm:NAME" '
            "for networks of several strides."
        )
    # Of hybrids, a patch is of the map of a convolutional network.
    return int(net.patch_embed.feat_ratio())


def _without_classifier(create: Callable[..., Any], options: dict[str, object]) -> Any:
    try:
        net = create(**{"dynamic_img_size": True, **options})
    except TypeError as err:
        if "embed_layer" in str(err):
            raise ConfigError(
                "This network cannot begin with convolutions (MODEL.TIMM_VIT.STEM); those of "
                "timm's VisionTransformer can, such as timm_vit:vit_small_patch16_224."
            ) from err
        # Those that take any size in any case, such as SAM's, do not know the option.
        if "dynamic_img_size" not in str(err):
            raise
        net = create(**options)
    if hasattr(net, "fc_norm"):
        # The norm after pooling and the like, which a map does not pass.
        net.prune_intermediate_layers(indices=1, prune_head=True)
    return net


def _stem(library: Any, node: CfgNode, in_channels: int) -> Callable[..., Any]:
    """What makes tokens of the map of a convolutional network, for timm's transformers.

    Source: Xiao 2021, arXiv:2106.14881.
    """
    name, stride = node.STEM, node.STEM_STRIDE
    if not library.is_model(name):
        raise UnknownNameError(f"MODEL.TIMM_VIT.STEM is {name!r}, which timm does not have.")
    options = {"pretrained": False, "features_only": True, "in_chans": in_channels}
    facts = library.create_model(name, **options).feature_info
    numbers = dict(zip(facts.reduction(), facts.out_indices, strict=True))
    if stride not in numbers:
        raise ConfigError(
            f"MODEL.TIMM_VIT.STEM_STRIDE is {stride}; {name} has maps of the strides "
            f"{list(numbers)}."
        )
    net = library.create_model(name, **options, out_indices=(numbers[stride],))
    return partial(library.layers.HybridEmbed, backbone=net)


def _build(cfg: CfgNode, input_shape: ShapeSpec, *, is_pyramid: bool) -> TimmViT:
    node = cfg.MODEL.TIMM_VIT
    library, name = timm_network(cfg, _EXAMPLE)
    options = adapter_options(cfg, "pretrained", "features_only", "num_classes", "in_chans")
    if node.STEM:
        stem = _stem(library, node, input_shape.channels)
        # Positions of any image size are made of those of this one, whose cells are whole.
        side = 32 * node.STEM_STRIDE
        options = {"img_size": side, **options, "patch_size": 1, "embed_layer": stem}
    create = partial(
        library.create_model,
        name,
        pretrained=False,
        num_classes=0,
        in_chans=input_shape.channels,
    )
    net = make_network(cfg, lambda: _without_classifier(create, options))
    patch = _patch_side(net)
    return TimmViT(
        net,
        in_channels=input_shape.channels or 3,
        stride=2 ** round(math.log2(patch)) if is_pyramid else patch,
        window_size=node.WINDOW_SIZE,
        global_blocks=node.GLOBAL_BLOCKS,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        use_act_checkpoint=node.USE_ACT_CHECKPOINT,
    )


@BACKBONE_REGISTRY.register()
def timm_vit(cfg: CfgNode, input_shape: ShapeSpec) -> TimmViT:
    """The vision transformer of timm that `"timm_vit:NAME"` names; see the file's text."""
    return _build(cfg, input_shape, is_pyramid=False)


@BACKBONE_REGISTRY.register()
def timm_vit_fpn(cfg: CfgNode, input_shape: ShapeSpec) -> SimpleFeaturePyramid:
    """The same under a simple pyramid of four maps, and "p6" (and "p7") as detectors ask for them.

    The map gets the power of two nearest to the side of a patch as its stride: images are resized
    by 14/16 for patches of 14 pixels. Of `MODEL.FPN` it reads OUT_CHANNELS. Only those of "p2" to
    "p5" are made that `MODEL.ADAPTER.OUT_FEATURES` names, or the architecture's own IN_FEATURES
    where that is empty; a map that nobody uses would have parameters without gradient.

    Raises:
        ConfigError: if OUT_FEATURES names another map.
    """
    net = _build(cfg, input_shape, is_pyramid=True)
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    stride = net.output_shape()["last_feat"].stride or 0
    own = cfg.MODEL.ADAPTER.OUT_FEATURES
    wanted = own or maps_of_architecture(cfg)
    levels = [level for level in _STRIDES if level in wanted] or list(_STRIDES)
    if any(name not in _STRIDES for name in own):
        raise ConfigError(
            f"MODEL.ADAPTER.OUT_FEATURES is {own}; a simple pyramid has the maps {list(_STRIDES)}."
        )
    return SimpleFeaturePyramid(
        net,
        in_feature="last_feat",
        out_channels=channels,
        scale_factors=[stride / _STRIDES[level] for level in levels],
        top_block=build_top_block(cfg, "p5", channels, level=5) if levels[-1] == "p5" else None,
        norm=cfg.MODEL.TIMM_VIT.PYRAMID_NORM,
        square_pad=cfg.MODEL.TIMM_VIT.SQUARE_PAD,
    )
