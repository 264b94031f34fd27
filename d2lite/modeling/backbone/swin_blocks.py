"""What a Swin transformer is made of: patches and their merging, blocks and stages.

N images, H x W cells, D channels; windows of P = Wh * Ww cells.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.utils.errors import ArgumentError

from .transformer_layers import DropPath, Mlp, run_block
from .utils import window_partition as padded_windows
from .utils import window_unpartition
from .window_attention import WindowAttention, shifted_window_mask


class SwinTransformerBlock(nn.Module):
    """Attention in windows and a perceptron, each beside the identity.

    Args:
        dim: channels.
        num_heads: heads of the attention.
        window_size: side of a window, in cells.
        shift_size: roll the map by so many cells first; below `window_size`.
        mlp_ratio: channels in the middle of the perceptron, over `dim`.
        qkv_bias: as in `WindowAttention`.
        qk_scale: as in `WindowAttention`.
        drop: dropout of the results of attention and perceptron.
        attn_drop: dropout of the attention weights.
        drop_path: rate of dropped branches.
        act_layer: makes the activation.
        norm_layer: makes a norm from a number of channels.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 7,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        if not 0 <= shift_size < window_size:
            raise ArgumentError(f"shift_size={shift_size} must be in 0 to {window_size - 1}.")
        self.window_size = window_size
        self.shift_size = shift_size
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(
            dim,
            (window_size, window_size),
            num_heads,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            attn_drop=attn_drop,
            proj_drop=drop,
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=drop)

    def forward(self, x: Tensor, mask_matrix: Tensor | None) -> Tensor:
        """Compute the block.

        Args:
            x: (N, H, W, D).
            mask_matrix: (windows, P, P), see `shifted_window_mask`; used where the block shifts.

        Returns:
            (N, H, W, D).
        """
        # DIFFERS: detectron2 takes (N, H * W, D) and the size as attributes set from outside.
        x = x + self.drop_path(self._attend(self.norm1(x), mask_matrix))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        height, width = x.shape[1:3]
        size, shift = self.window_size, self.shift_size
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        windows, padded = padded_windows(x, size)
        attended = self.attn(windows.flatten(1, 2), mask if shift else None)
        whole = window_unpartition(attended.view_as(windows), size, padded, padded)
        if shift:
            whole = whole.roll((shift, shift), (1, 2))
        return whole[:, :height, :width]


class PatchMerging(nn.Module):
    """Halve a map: four neighbours become one cell of twice the channels.

    Args:
        dim: channels of the input.
        norm_layer: makes a norm from a number of channels.
    """

    def __init__(self, dim: int, norm_layer: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor, H: int, W: int) -> Tensor:  # noqa: N803
        """(N, H * W, D) -> (N, ceil(H / 2) * ceil(W / 2), 2 * D), zeros beyond the border."""
        grid = F.pad(x.unflatten(1, (H, W)), (0, 0, 0, W % 2, 0, H % 2))
        pairs = grid.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        # The published weights have the four neighbours column by column.
        neighbours = pairs.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return self.reduction(self.norm(neighbours))


class PatchEmbed(nn.Module):
    """Patches of the image as vectors; images are padded to whole patches.

    Args:
        patch_size: side of a patch, in pixels.
        in_chans: channels of the image.
        embed_dim: channels of the result.
        norm_layer: makes a norm from a number of channels; None for no norm.
    """

    def __init__(
        self,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size)
        self.norm = None if norm_layer is None else norm_layer(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, embed_dim, ceil(H / patch_size), ceil(W / patch_size))."""
        height, width = x.shape[-2:]
        x = self.proj(F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size)))
        if self.norm is None:
            return x
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BasicLayer(nn.Module):
    """A stage: blocks whose windows are shifted in every second one, then perhaps a merging.

    Args:
        dim: channels.
        depth: number of blocks.
        num_heads: heads of each attention.
        window_size: side of a window, in cells.
        mlp_ratio: as in `SwinTransformerBlock`, and so the next four.
        qkv_bias: see there.
        qk_scale: see there.
        drop: see there.
        attn_drop: see there.
        drop_path: rate of dropped branches, one for all blocks or one for each.
        norm_layer: makes a norm from a number of channels.
        downsample: makes what halves the map, from `dim` and `norm_layer`; None for nothing.
        use_checkpoint: compute the blocks again in the backward pass, to save memory.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float | Sequence[float] = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        downsample: Callable[..., nn.Module] | None = None,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift_size = window_size // 2
        self.depth = depth
        self.use_checkpoint = use_checkpoint
        rates = drop_path if isinstance(drop_path, Sequence) else [drop_path] * depth
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                dim=dim,
                num_heads=num_heads,
                window_size=window_size,
                shift_size=self.shift_size if i % 2 else 0,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop=drop,
                attn_drop=attn_drop,
                drop_path=rate,
                norm_layer=norm_layer,
            )
            for i, rate in zip(range(depth), rates, strict=True)
        )
        self.downsample = None if downsample is None else downsample(dim=dim, norm_layer=norm_layer)

    def forward(
        self,
        x: Tensor,
        H: int,  # noqa: N803
        W: int,  # noqa: N803
    ) -> tuple[Tensor, int, int, Tensor, int, int]:
        """Compute the stage.

        Args:
            x: (N, H * W, D).
            H: height of the map.
            W: width of the map.

        Returns:
            The result before merging (N, H * W, D) and its height and width; then what goes to
            the next stage, with its height and width.
        """
        grid = x.unflatten(1, (H, W))
        mask = None
        if self.depth > 1 and self.shift_size:
            mask = shifted_window_mask(H, W, self.window_size, self.shift_size, x.device)
        for block in self.blocks:
            grid = run_block(block, grid, mask, recompute=self.use_checkpoint)
        out = grid.flatten(1, 2)
        if self.downsample is None:
            return out, H, W, out, H, W
        return out, H, W, self.downsample(out, H, W), (H + 1) // 2, (W + 1) // 2
