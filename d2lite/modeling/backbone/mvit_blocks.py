"""What an MViT is made of: attention over pooled queries, keys and values, and its block.

N images, H x W cells, D channels.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.utils.errors import ArgumentError

from .transformer_layers import DropPath, Mlp
from .utils import decomposed_rel_pos, window_partition, window_unpartition
from .vit_blocks import make_rel_pos


def attention_pool(x: Tensor, pool: nn.Module, norm: nn.Module | None = None) -> Tensor:
    """Make a map smaller with a layer that wants channels first.

    Args:
        x: (N, H, W, D).
        pool: from (N, D, H, W) to a smaller map.
        norm: applied after it, to (N, H', W', D).

    Returns:
        (N, H', W', D).
    """
    pooled = pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return pooled if norm is None else norm(pooled)


class MultiScaleAttention(nn.Module):
    """Self-attention whose queries, keys and values are pooled to smaller maps first.

    Args:
        dim: channels of the input.
        dim_out: channels of the output.
        num_heads: number of heads.
        qkv_bias: give queries, keys and values a bias.
        norm_layer: makes the norms after pooling from a number of channels.
        pool_kernel: size of the pooling convolutions.
        stride_q: stride of the queries' pooling, and of the whole.
        stride_kv: stride of the keys' and values'.
        residual_pooling: add the pooled queries to the result.
        window_size: side of the windows in cells of the input, a multiple of both strides; 0
            attends to the whole map.
        use_rel_pos: add a term of the relative positions to the scores.
        rel_pos_zero_init: start these at zero.
        input_size: height and width, equal, that the tables of relative positions are made for.

    Raises:
        ArgumentError: if sizes do not divide, or `input_size` is not square.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        qkv_bias: bool = True,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        stride_kv: int = 1,
        residual_pooling: bool = True,
        window_size: int = 0,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if dim_out % num_heads:
            raise ArgumentError(f"{dim_out} channels do not divide over {num_heads} heads.")
        if window_size % stride_q or window_size % stride_kv:
            raise ArgumentError(
                f"A window of {window_size} cells is not a multiple of the strides {stride_q} and "
                f"{stride_kv}."
            )
        per_head = dim_out // num_heads
        self.num_heads = num_heads
        self.scale = per_head**-0.5
        self.residual_pooling = residual_pooling
        self.q_window = window_size // stride_q
        self.kv_window = window_size // stride_kv
        self.qkv = nn.Linear(dim, 3 * dim_out, bias=qkv_bias)
        self.proj = nn.Linear(dim_out, dim_out)
        for role, stride in (("q", stride_q), ("k", stride_kv), ("v", stride_kv)):
            pool = nn.Conv2d(
                per_head,
                per_head,
                pool_kernel,
                stride=stride,
                padding=(pool_kernel[0] // 2, pool_kernel[1] // 2),
                groups=per_head,
                bias=False,
            )
            self.add_module(f"pool_{role}", pool)
            self.add_module(f"norm_{role}", norm_layer(per_head))
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None or input_size[0] != input_size[1]:
                raise ArgumentError(
                    f"use_rel_pos=True needs a square input_size, not {input_size}."
                )
            longer = max(input_size[0] // stride_q, input_size[0] // stride_kv)
            self.rel_pos_h, self.rel_pos_w = (
                make_rel_pos(2 * longer - 1, per_head, zero=rel_pos_zero_init) for _ in range(2)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, dim) -> (N, ceil(H / stride_q), ceil(W / stride_q), dim_out)."""
        images = x.shape[0]
        # Each head is pooled by the same weights, as an image of its own.
        split = self.qkv(x).unflatten(3, (3, self.num_heads, -1)).permute(3, 0, 4, 1, 2, 5)
        q, k, v = (
            attention_pool(part, getattr(self, f"pool_{role}"), getattr(self, f"norm_{role}"))
            for role, part in zip("qkv", split.flatten(1, 2), strict=True)
        )
        out = self._attend_in_windows(q, k, v) if self.q_window else self._attend(q, k, v)
        if self.residual_pooling:
            out = out + q
        heads_last = out.unflatten(0, (images, self.num_heads)).permute(0, 2, 3, 1, 4)
        return self.proj(heads_last.flatten(3))

    def _attend_in_windows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q_windows, padded = window_partition(q, self.q_window)
        k_windows, v_windows = (window_partition(part, self.kv_window)[0] for part in (k, v))
        out = self._attend(q_windows, k_windows, v_windows)
        return window_unpartition(out, self.q_window, padded, q.shape[1:3])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, Qh, Qw, D) and twice (B, Kh, Kw, D), one head a map -> (B, Qh, Qw, D)."""
        # The fast kernels want an axis of heads.
        queries, keys, values = (part.flatten(1, 2)[:, None] for part in (q, k, v))
        bias = None
        if self.use_rel_pos:
            bias = decomposed_rel_pos(
                queries[:, 0], self.rel_pos_h, self.rel_pos_w, q.shape[1:3], k.shape[1:3]
            )[:, None]
        out = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, scale=self.scale
        )
        return out.reshape(q.shape)


class MultiScaleBlock(nn.Module):
    """Pooled attention and a perceptron, each beside a shortcut.

    Args:
        dim: channels of the input.
        dim_out: channels of the output.
        num_heads: heads of the attention.
        mlp_ratio: channels in the middle of the perceptron, over `dim_out`.
        qkv_bias: as in `MultiScaleAttention`.
        drop_path: rate of dropped branches.
        norm_layer: makes a norm from a number of channels.
        act_layer: makes the activation.
        qkv_pool_kernel: as `pool_kernel` of `MultiScaleAttention`.
        stride_q: as in `MultiScaleAttention`, and so the rest.
        stride_kv: see there.
        residual_pooling: see there.
        window_size: see there.
        use_rel_pos: see there.
        rel_pos_zero_init: see there.
        input_size: see there.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        stride_kv: int = 1,
        residual_pooling: bool = True,
        window_size: int = 0,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = MultiScaleAttention(
            dim,
            dim_out,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            norm_layer=norm_layer,
            pool_kernel=qkv_pool_kernel,
            stride_q=stride_q,
            stride_kv=stride_kv,
            residual_pooling=residual_pooling,
            window_size=window_size,
            use_rel_pos=use_rel_pos,
            rel_pos_zero_init=rel_pos_zero_init,
            input_size=input_size,
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), act_layer=act_layer)
        self.proj = None if dim == dim_out else nn.Linear(dim, dim_out)
        self.pool_skip: nn.Module | None = None
        if stride_q > 1:
            size = stride_q + 1
            self.pool_skip = nn.MaxPool2d(size, stride=stride_q, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, dim) -> (N, ceil(H / stride_q), ceil(W / stride_q), dim_out)."""
        normed = self.norm1(x)
        # Where channels change, the shortcut too starts from the normed map.
        shortcut = x if self.proj is None else self.proj(normed)
        if self.pool_skip is not None:
            shortcut = attention_pool(shortcut, self.pool_skip)
        x = shortcut + self.drop_path(self.attn(normed))
        return x + self.drop_path(self.mlp(self.norm2(x)))
