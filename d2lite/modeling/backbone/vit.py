"""ViT: a plain vision transformer, with the simple pyramid on it the backbone of ViTDet.

Source: Li 2022, arXiv:2203.16527.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError

from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .pyramid import build_top_block
from .simple_pyramid import SimpleFeaturePyramid
from .transformer_layers import drop_path_rates, init_transformer, run_block
from .utils import PatchEmbed, get_abs_pos, make_abs_pos
from .vit_blocks import Attention, Block, ResBottleneckBlock

__all__ = [
    "Attention",
    "Block",
    "ResBottleneckBlock",
    "SimpleFeaturePyramid",
    "ViT",
    "build_vit_backbone",
    "build_vit_fpn_backbone",
    "freeze_blocks",
    "get_vit_lr_decay_rate",
]


class ViT(Backbone):
    """A plain vision transformer with windows in most of its blocks: one map, of one stride.

    Args:
        img_size: side of the images in pixels that relative positions are made for; other sizes
            go too.
        patch_size: side of a patch in pixels, the stride of the map.
        in_chans: channels of the image.
        embed_dim: channels of the map.
        depth: number of blocks.
        num_heads: heads of each attention.
        mlp_ratio: channels in the middle of the perceptrons, over `embed_dim`.
        qkv_bias: give queries, keys and values a bias.
        drop_path_rate: rate of dropped branches in the last block, growing from 0 in the first.
        norm_layer: makes a norm from a number of channels.
        act_layer: makes the activations.
        use_abs_pos: add learned positions to the patches.
        use_rel_pos: add relative positions to the attention scores.
        rel_pos_zero_init: start these at zero.
        window_size: side of the windows, in patches.
        window_block_indexes: the blocks that attend within windows; the others see all.
        residual_block_indexes: the blocks that a convolutional residual block follows.
        use_act_checkpoint: compute the blocks again in the backward pass, to save memory.
        pretrain_img_size: side of the images in pixels that the learned positions come from.
        pretrain_use_cls_token: these positions have one more, for a class token.
        out_feature: name of the map.
        freeze_at: see `freeze_blocks`.
    """

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        window_block_indexes: Sequence[int] = (),
        residual_block_indexes: Sequence[int] = (),
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_feature: str = "last_feat",
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self._recompute = use_act_checkpoint
        patch = (patch_size, patch_size)
        self.patch_embed = PatchEmbed(patch, patch, in_chans=in_chans, embed_dim=embed_dim)
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            positions = (pretrain_img_size // patch_size) ** 2 + int(pretrain_use_cls_token)
            self.pos_embed = make_abs_pos(positions, embed_dim)
        self.blocks = nn.ModuleList(
            Block(
                dim=embed_dim,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_path=rate,
                norm_layer=norm_layer,
                act_layer=act_layer,
                use_rel_pos=use_rel_pos,
                rel_pos_zero_init=rel_pos_zero_init,
                window_size=window_size if i in window_block_indexes else 0,
                use_residual_block=i in residual_block_indexes,
                input_size=(img_size // patch_size, img_size // patch_size),
            )
            for i, rate in enumerate(drop_path_rates(drop_path_rate, depth))
        )
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(init_transformer)
        self._out_features = [out_feature]
        self._out_feature_channels = {out_feature: embed_dim}
        self._out_feature_strides = {out_feature: patch_size}
        self._fixed = freeze_blocks(self, self.blocks, freeze_at)

    def _frozen_modules(self) -> Iterable[nn.Module]:
        return self._fixed

    @property
    def size_divisibility(self) -> int:
        """The side of a patch: pixels beyond the last whole one would be lost."""
        return self._out_feature_strides[self._out_features[0]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the map.

        Args:
            x: (N, in_chans, H, W) float.

        Returns:
            `out_feature` -> (N, embed_dim, H / patch_size, W / patch_size).
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        for block in self.blocks:
            x = run_block(block, x, recompute=self._recompute)
        return {self._out_features[0]: x.permute(0, 3, 1, 2)}


def freeze_blocks(
    net: nn.Module, blocks: nn.ModuleList, freeze_at: int, *, last: Sequence[str] = ()
) -> list[nn.Module]:
    """Fix the first layers of a transformer.

    Args:
        net: the transformer.
        blocks: its blocks.
        freeze_at: 0 nothing, 1 what comes before the blocks (patches, positions, tokens), 2 also
            the first block, and so on; one more than there are blocks fixes all.
        last: names of the children of `net` that come after the blocks.

    Returns:
        The modules whose dropout has to stay off, for `Module.train` of the caller.

    Raises:
        ConfigError: for another number.
    """
    if not 0 <= freeze_at <= len(blocks) + 1:
        raise ConfigError(
            f"MODEL.BACKBONE.FREEZE_AT={freeze_at}, but this transformer has {len(blocks)} blocks. "
            "Use 0 (nothing), 1 (patches and positions), 2 (also the first block) and so on, up to "
            f"{len(blocks) + 1} (everything)."
        )
    if freeze_at == 0:
        return []
    if freeze_at == len(blocks) + 1:
        net.requires_grad_(False)
        return list(net.children())
    for parameter in net.parameters(recurse=False):
        parameter.requires_grad_(False)
    others = [child for name, child in net.named_children() if name not in last]
    fixed = [child for child in others if child is not blocks] + list(blocks[: freeze_at - 1])
    for module in fixed:
        module.requires_grad_(False)
    return fixed


_BLOCK_NUMBER = re.compile(r"\.blocks\.(\d+)\.(?!.*\bresidual\.)")


def get_vit_lr_decay_rate(name: str, lr_decay_rate: float = 1.0, num_layers: int = 12) -> float:
    """Factor of the learning rate of one parameter: lower, the nearer to the image.

    Args:
        name: of the parameter in the model. What is not under "backbone", and the convolutional
            parts of a backbone, keep the full rate.
        lr_decay_rate: factor from one block to the one before.
        num_layers: number of blocks.

    Returns:
        lr_decay_rate to the power of one plus the number of later blocks.
    """
    layer = num_layers + 1
    if name.startswith("backbone"):
        numbered = _BLOCK_NUMBER.search(name)
        if ".pos_embed" in name or ".patch_embed" in name:
            layer = 0
        elif numbered:
            layer = int(numbered[1]) + 1
    return lr_decay_rate ** (num_layers + 1 - layer)


@BACKBONE_REGISTRY.register()
def build_vit_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ViT:
    """Make the ViT that `MODEL.VIT` describes, with the one map "last_feat".

    `MODEL.BACKBONE.FREEZE_AT` is explained at `freeze_blocks`.
    """
    node = cfg.MODEL.VIT
    return ViT(
        img_size=node.IMG_SIZE,
        patch_size=node.PATCH_SIZE,
        in_chans=input_shape.channels,
        embed_dim=node.EMBED_DIM,
        depth=node.DEPTH,
        num_heads=node.NUM_HEADS,
        drop_path_rate=node.DROP_PATH_RATE,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=node.USE_REL_POS,
        window_size=node.WINDOW_SIZE,
        window_block_indexes=sorted(set(range(node.DEPTH)) - set(node.GLOBAL_BLOCKS)),
        residual_block_indexes=node.RESIDUAL_BLOCKS,
        use_act_checkpoint=node.USE_ACT_CHECKPOINT,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_vit_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SimpleFeaturePyramid:
    """The ViT of `MODEL.VIT` under a simple pyramid "p2" to "p5", and "p6" (and "p7") on it.

    Of `MODEL.FPN` it reads OUT_CHANNELS; the rest is for pyramids of several maps.
    """
    node = cfg.MODEL.VIT
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return SimpleFeaturePyramid(
        build_vit_backbone(cfg, input_shape),
        in_feature="last_feat",
        out_channels=channels,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=build_top_block(cfg, "p5", channels, level=int(math.log2(node.PATCH_SIZE)) + 1),
        norm=node.PYRAMID_NORM,
        square_pad=node.SQUARE_PAD,
    )
