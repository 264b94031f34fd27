"""What all transformer backbones share: the two-layer perceptron, dropped branches, initial values.

N samples, D channels; between them any number of axes of positions.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2lite.utils.errors import ArgumentError


class DropPath(nn.Module):
    """Leave out the branch of a residual block for a random part of the samples, in training.

    What is kept is scaled up, so that the expected value stays.

    Args:
        drop_prob: probability that a sample goes without the branch, in [0, 1).

    Source: Huang 2016, arXiv:1603.09382.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= drop_prob < 1.0:
            raise ArgumentError(f"DropPath got the rate {drop_prob}; give one in [0, 1).")
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> the same shape, whole samples zeroed."""
        if not self.training or self.drop_prob == 0.0:
            return x
        one_per_sample = x.new_ones(x.shape[0], *[1] * (x.dim() - 1))
        return x * F.dropout(one_per_sample, self.drop_prob)

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        return f"drop_prob={self.drop_prob:g}"


class Mlp(nn.Module):
    """Two linear layers with an activation in between, position by position.

    Args:
        in_features: channels of the input.
        hidden_features: channels in the middle; as the input when left out.
        out_features: channels of the result; as the input when left out.
        act_layer: makes the activation.
        drop: dropout after each layer.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = hidden_features or in_features
        self.fc1 = nn.Linear(in_features, hidden)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden, out_features or in_features)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


def drop_path_rates(highest: float, depth: int) -> list[float]:
    """Rates of `depth` blocks, growing evenly from 0 to `highest`."""
    return [highest * i / max(depth - 1, 1) for i in range(depth)]


def init_transformer(module: nn.Module) -> None:
    """Set the starting values of one layer, for use with `Module.apply`.

    Linear layers get truncated normal weights of deviation 0.02 and zero bias, layer norms the
    identity; everything else keeps what it has.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        nn.init.ones_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def run_block(block: nn.Module, *inputs: Tensor | None, recompute: bool) -> Tensor:
    """Call `block`; with `recompute` keep no activations for the backward pass.

    Args:
        block: the module.
        *inputs: what it is given.
        recompute: compute the block once more in the backward pass: less memory, more time.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
