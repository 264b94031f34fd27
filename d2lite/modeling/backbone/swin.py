"""Swin: a transformer of shifted windows with four maps, like a ResNet's.

Source: Liu 2021, arXiv:2103.14030.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError

from .backbone import Backbone, PyramidBackbone, check_maps
from .build import BACKBONE_REGISTRY
from .pyramid import build_pyramid
from .swin_blocks import BasicLayer, PatchEmbed, PatchMerging, SwinTransformerBlock
from .transformer_layers import Mlp, drop_path_rates, init_transformer
from .window_attention import WindowAttention, window_partition, window_reverse

__all__ = [
    "BasicLayer",
    "Mlp",
    "PatchEmbed",
    "PatchMerging",
    "SwinTransformer",
    "SwinTransformerBlock",
    "WindowAttention",
    "build_swin_backbone",
    "build_swin_fpn_backbone",
    "window_partition",
    "window_reverse",
]


class SwinTransformer(Backbone):
    """Stages of windowed attention; the maps "p0", "p1", ... have strides 4, 8, ...

    Args:
        pretrain_img_size: side of the images in pixels that the learned positions come from.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the image.
        embed_dim: channels of the first map; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        window_size: side of a window, in cells.
        mlp_ratio: channels in the middle of the perceptrons, over those of the stage.
        qkv_bias: give queries, keys and values a bias.
        qk_scale: factor of the scores; one over the root of the channels of a head when left out.
        drop_rate: dropout of the embedded patches and of the results of the layers.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: rate of dropped branches in the last block, growing from 0 in the first.
        norm_layer: makes a norm from a number of channels.
        ape: add learned positions to the patches.
        patch_norm: norm after the embedding of the patches.
        out_indices: numbers of the stages whose maps to return.
        frozen_stages: see `freeze`.
        use_checkpoint: compute the blocks again in the backward pass, to save memory.
    """

    def __init__(
        self,
        pretrain_img_size: int = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check_stages(depths, num_heads, out_indices)
        self.num_layers = len(depths)
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.num_features = [embed_dim * 2**i for i in range(self.num_layers)]
        self.patch_embed = PatchEmbed(
            patch_size, in_chans, embed_dim, norm_layer if patch_norm else None
        )
        self.absolute_pos_embed: nn.Parameter | None = None
        if ape:
            side = pretrain_img_size // patch_size
            self.absolute_pos_embed = nn.Parameter(torch.empty(1, embed_dim, side, side))
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(drop_rate)

        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList(
            BasicLayer(
                dim=dim,
                depth=depth,
                num_heads=heads,
                window_size=window_size,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop=drop_rate,
                attn_drop=attn_drop_rate,
                drop_path=[next(rates) for _ in range(depth)],
                norm_layer=norm_layer,
                downsample=PatchMerging if i + 1 < self.num_layers else None,
                use_checkpoint=use_checkpoint,
            )
            for i, (dim, depth, heads) in enumerate(
                zip(self.num_features, depths, num_heads, strict=True)
            )
        )
        for i in self.out_indices:
            self.add_module(f"norm{i}", norm_layer(self.num_features[i]))
        self.apply(init_transformer)

        self.patch_size = patch_size
        self.rename_maps([f"p{i}" for i in self.out_indices])
        # The stride of the last stage, 32 in the published networks.
        self._size_divisibility = patch_size * 2 ** (self.num_layers - 1)
        self.freeze(frozen_stages)

    def rename_maps(self, names: Sequence[str]) -> None:
        """Give the maps that are returned other names, one for each of `out_indices`."""
        named = dict(zip(names, self.out_indices, strict=True))
        self._out_features = list(named)
        self._out_feature_channels = {name: self.num_features[i] for name, i in named.items()}
        self._out_feature_strides = {name: self.patch_size * 2**i for name, i in named.items()}

    def freeze(self, frozen_stages: int) -> "SwinTransformer":
        """Fix the first layers: no gradient, no dropout.

        Args:
            frozen_stages: -1 nothing, 0 the embedding of the patches, 1 the learned positions
                too, 2 the first stage too, 3 the second too, and so on.

        Returns:
            itself.
        """
        self.frozen_stages = frozen_stages
        if frozen_stages >= 1 and self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad_(False)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        frozen: list[nn.Module] = [self.patch_embed] if self.frozen_stages >= 0 else []
        if self.frozen_stages >= 2:
            frozen += [self.pos_drop, *self.layers[: self.frozen_stages - 1]]
        return frozen

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the wanted maps.

        Args:
            x: (N, in_chans, H, W) float, of any size.

        Returns:
            name -> (N, channels, ceil(H / stride), ceil(W / stride)).
        """
        x = self.patch_embed(x)
        height, width = x.shape[-2:]
        if self.absolute_pos_embed is not None:
            x = x + F.interpolate(self.absolute_pos_embed, size=(height, width), mode="bicubic")
        x = self.pos_drop(x.flatten(2).transpose(1, 2))
        names = dict(zip(self.out_indices, self._out_features, strict=True))
        maps = {}
        for i, layer in enumerate(self.layers):
            out, rows, columns, x, height, width = layer(x, height, width)
            if i in self.out_indices:
                normed = getattr(self, f"norm{i}")(out)
                maps[names[i]] = normed.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        return {name: maps[name].contiguous() for name in self._out_features}


def _check_stages(
    depths: Sequence[int], num_heads: Sequence[int], out_indices: Sequence[int]
) -> None:
    if len(depths) != len(num_heads):
        raise ConfigError(
            f"A Swin of depths {list(depths)} has heads {list(num_heads)}. Give one number a stage "
            "in both (MODEL.SWIN.DEPTHS, MODEL.SWIN.NUM_HEADS)."
        )
    strange = [i for i in out_indices if not 0 <= i < len(depths)]
    if strange or not out_indices:
        raise ConfigError(
            f"A Swin of {len(depths)} stages cannot return the maps {list(out_indices)}. Choose "
            f"among 0 to {len(depths) - 1} (MODEL.SWIN.OUT_FEATURES: p0, p1, ...)."
        )


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SwinTransformer:
    """Make the Swin that `MODEL.SWIN` describes.

    `MODEL.BACKBONE.FREEZE_AT` is 0 for nothing, 1 for the embedding of the patches, 2 for the
    first stage too, and so on.
    """
    node = cfg.MODEL.SWIN
    names = [f"p{i}" for i in range(len(node.DEPTHS))]
    check_maps("a Swin", node.OUT_FEATURES, names, "MODEL.SWIN.OUT_FEATURES")
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    return SwinTransformer(
        in_chans=input_shape.channels,
        embed_dim=node.EMBED_DIM,
        depths=node.DEPTHS,
        num_heads=node.NUM_HEADS,
        window_size=node.WINDOW_SIZE,
        drop_path_rate=node.DROP_PATH_RATE,
        out_indices=[names.index(name) for name in node.OUT_FEATURES],
        frozen_stages=freeze_at if freeze_at > 0 else -1,
        use_checkpoint=node.USE_CHECKPOINT,
    )


@BACKBONE_REGISTRY.register()
def build_swin_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PyramidBackbone:
    """The Swin of `MODEL.SWIN` under the pyramid of `MODEL.FPN`, see `pyramid.build_pyramid`."""
    return build_pyramid(cfg, build_swin_backbone(cfg, input_shape))
