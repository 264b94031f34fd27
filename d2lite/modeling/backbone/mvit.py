"""MViTv2: a transformer that halves its map between stages, with four maps like a ResNet's.

Source: Li 2021, arXiv:2112.01526.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError

from .backbone import Backbone, PyramidBackbone, check_maps
from .build import BACKBONE_REGISTRY
from .mvit_blocks import MultiScaleAttention, MultiScaleBlock, attention_pool
from .pyramid import build_pyramid
from .transformer_layers import drop_path_rates, init_transformer, run_block
from .utils import PatchEmbed, get_abs_pos, make_abs_pos

__all__ = [
    "MViT",
    "MultiScaleAttention",
    "MultiScaleBlock",
    "attention_pool",
    "build_mvit_backbone",
    "build_mvit_fpn_backbone",
]


class MViT(Backbone):
    """Stages "scale2" to "scale5" of pooled attention, with strides 4, 8, 16 and 32.

    Within a stage blocks attend in windows; the last blocks of all stages but the first attend to
    the whole map.

    Args:
        img_size: side of the images in pixels that relative positions are made for; other sizes
            go too.
        patch_kernel: size of the patches, which overlap.
        patch_stride: from one patch to the next.
        patch_padding: around the image.
        in_chans: channels of the image.
        embed_dim: channels of the first map; each further one has twice as many.
        depth: number of blocks.
        num_heads: heads of the first stage; each further one has twice as many.
        last_block_indexes: number of the last block of each stage.
        qkv_pool_kernel: size of the pooling convolutions.
        adaptive_kv_stride: stride of keys and values in the first stage; halved from stage to
            stage.
        adaptive_window_size: side of the windows in the first stage, in cells; halved likewise.
        residual_pooling: add the pooled queries to the result of attention.
        mlp_ratio: channels in the middle of the perceptrons, over those of the block.
        qkv_bias: give queries, keys and values a bias.
        drop_path_rate: rate of dropped branches in the last block, growing from 0 in the first.
        norm_layer: makes a norm from a number of channels.
        act_layer: makes the activations.
        use_abs_pos: add learned positions to the patches.
        use_rel_pos: add relative positions to the attention scores.
        rel_pos_zero_init: start these at zero.
        use_act_checkpoint: compute the blocks again in the backward pass, to save memory.
        pretrain_img_size: side of the images in pixels that the learned positions come from.
        pretrain_use_cls_token: these positions have one more, for a class token.
        out_features: names of the maps to return.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_kernel: tuple[int, int] = (7, 7),
        patch_stride: tuple[int, int] = (4, 4),
        patch_padding: tuple[int, int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        depth: int = 16,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 11, 15),
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        adaptive_kv_stride: int = 4,
        adaptive_window_size: int = 56,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = True,
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_features: Sequence[str] = ("scale2", "scale3", "scale4", "scale5"),
    ) -> None:
        super().__init__()
        self.last_block_indexes = tuple(last_block_indexes)
        names = [f"scale{i}" for i in range(2, 2 + len(self.last_block_indexes))]
        _check_mvit(depth, self.last_block_indexes, names, out_features)
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self._recompute = use_act_checkpoint
        self._fixed: list[nn.Module] = []
        self.patch_embed = PatchEmbed(
            patch_kernel, patch_stride, patch_padding, in_chans=in_chans, embed_dim=embed_dim
        )
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            rows, columns = (pretrain_img_size // step for step in patch_stride)
            length = rows * columns + int(pretrain_use_cls_token)
            self.pos_embed = make_abs_pos(length, embed_dim)
        plans = _plan_blocks(
            self.last_block_indexes,
            embed_dim=embed_dim,
            num_heads=num_heads,
            stride_kv=adaptive_kv_stride,
            window_size=adaptive_window_size,
            input_size=(img_size // patch_stride[0], img_size // patch_stride[1]),
        )
        self.blocks = nn.ModuleList(
            MultiScaleBlock(
                **plan,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_path=rate,
                norm_layer=norm_layer,
                act_layer=act_layer,
                qkv_pool_kernel=qkv_pool_kernel,
                residual_pooling=residual_pooling,
                use_rel_pos=use_rel_pos,
                rel_pos_zero_init=rel_pos_zero_init,
            )
            for plan, rate in zip(plans, drop_path_rates(drop_path_rate, depth), strict=True)
        )
        self._out_features = [name for name in names if name in out_features]
        widths = {name: embed_dim * 2**i for i, name in enumerate(names)}
        for name in self._out_features:
            self.add_module(f"{name}_norm", norm_layer(widths[name]))
        self._out_feature_channels = {name: widths[name] for name in self._out_features}
        self._out_feature_strides = {
            name: patch_stride[0] * 2**i for i, name in enumerate(names) if name in out_features
        }
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(init_transformer)

    def freeze(self, freeze_at: int) -> "MViT":
        """Fix the first layers: no gradient, no dropped branches.

        Args:
            freeze_at: 0 nothing, 1 patches and positions, 2 "scale2" too, and so on.

        Returns:
            itself.
        """
        if freeze_at >= 1:
            self.patch_embed.requires_grad_(False)
            if self.pos_embed is not None:
                self.pos_embed.requires_grad_(False)
        for number, last in enumerate(self.last_block_indexes, start=2):
            if freeze_at >= number:
                self._fixed = list(self.blocks[: last + 1])
                self.blocks[: last + 1].requires_grad_(False)
                if f"scale{number}" in self._out_features:
                    getattr(self, f"scale{number}_norm").requires_grad_(False)
        self.train(self.training)
        return self

    def _frozen_modules(self) -> Iterable[nn.Module]:
        return self._fixed

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the wanted maps.

        Args:
            x: (N, in_chans, H, W) float, of any size.

        Returns:
            name -> (N, channels, ceil(H / stride), ceil(W / stride)).
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        maps = {}
        ends = {last: f"scale{i}" for i, last in enumerate(self.last_block_indexes, start=2)}
        for i, block in enumerate(self.blocks):
            x = run_block(block, x, recompute=self._recompute)
            if ends.get(i) in self._out_features:
                maps[ends[i]] = getattr(self, f"{ends[i]}_norm")(x).permute(0, 3, 1, 2)
        return maps


def _plan_blocks(
    last_block_indexes: Sequence[int],
    *,
    embed_dim: int,
    num_heads: int,
    stride_kv: int,
    window_size: int,
    input_size: tuple[int, int],
) -> list[dict[str, Any]]:
    """What differs from block to block, as arguments of `MultiScaleBlock`.

    In the first block of each further stage channels and heads have doubled and queries are
    halved; it is still given the map of the stage before, in whose cells its windows count.
    """
    plans = []
    before = -1
    for stage, last in enumerate(last_block_indexes):
        for i in range(before + 1, last + 1):
            enters = stage > 0 and i == before + 1
            shrunk = stage - 1 if enters else stage
            stride = max(stride_kv >> stage, 1)
            # Two of the blocks that see the whole map look at fewer keys: it is still large.
            if i in last_block_indexes[1:3]:
                stride *= 2
            plans.append(
                {
                    "dim": embed_dim * 2**shrunk,
                    "dim_out": embed_dim * 2**stage,
                    "num_heads": num_heads * 2**stage,
                    "stride_q": 2 if enters else 1,
                    "stride_kv": stride,
                    "window_size": 0 if i in last_block_indexes[1:] else window_size >> shrunk,
                    "input_size": tuple(side >> shrunk for side in input_size),
                }
            )
        before = last
    return plans


def _check_mvit(
    depth: int, last_blocks: Sequence[int], names: Sequence[str], out_features: Sequence[str]
) -> None:
    rising = (
        bool(last_blocks) and list(last_blocks) == sorted(set(last_blocks)) and last_blocks[0] >= 0
    )
    if not rising or last_blocks[-1] != depth - 1:
        raise ConfigError(
            f"An MViT of {depth} blocks whose stages end at blocks {list(last_blocks)}. The "
            f"numbers must rise, up to {depth - 1} (MODEL.MVIT.LAST_BLOCK_INDEXES, "
            "MODEL.MVIT.DEPTH)."
        )
    check_maps("an MViT", out_features, names, "MODEL.MVIT.OUT_FEATURES")


@BACKBONE_REGISTRY.register()
def build_mvit_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> MViT:
    """Make the MViTv2 that `MODEL.MVIT` describes, frozen up to `MODEL.BACKBONE.FREEZE_AT`."""
    node = cfg.MODEL.MVIT
    net = MViT(
        img_size=node.IMG_SIZE,
        in_chans=input_shape.channels,
        embed_dim=node.EMBED_DIM,
        depth=node.DEPTH,
        num_heads=node.NUM_HEADS,
        last_block_indexes=node.LAST_BLOCK_INDEXES,
        adaptive_window_size=node.WINDOW_SIZE,
        drop_path_rate=node.DROP_PATH_RATE,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_act_checkpoint=node.USE_ACT_CHECKPOINT,
        out_features=node.OUT_FEATURES,
    )
    return net.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


@BACKBONE_REGISTRY.register()
def build_mvit_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PyramidBackbone:
    """The MViT of `MODEL.MVIT` under the pyramid of `MODEL.FPN`, see `pyramid.build_pyramid`."""
    return build_pyramid(
        cfg, build_mvit_backbone(cfg, input_shape), square_pad=cfg.MODEL.MVIT.SQUARE_PAD
    )
