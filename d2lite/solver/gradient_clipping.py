"""Gradient clipping as part of an optimizer's step, so that no training loop can forget it."""

import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError


class GradientClipType(Enum):
    """Values of SOLVER.CLIP_GRADIENTS.CLIP_TYPE."""

    VALUE = "value"
    """Each number of a gradient is limited to +- CLIP_VALUE."""
    NORM = "norm"
    """The gradient of each parameter is scaled down to the norm CLIP_VALUE."""
    FULL_MODEL = "full_model"
    """All gradients are scaled by one factor, so that their common norm is CLIP_VALUE."""


# The clippers take gradients that exist and change them in place. One call each for the whole
# model: a Python loop over some 200 parameters would cost several kernel launches apiece.


def _clip_values_(grads: list[Tensor], limit: float, norm_type: float) -> None:
    parts = _own_parts(grads)
    torch._foreach_clamp_min_(parts, -limit)
    torch._foreach_clamp_max_(parts, limit)


def _clip_each_norm_(grads: list[Tensor], limit: float, norm_type: float) -> None:
    norms = _norms(grads, norm_type)
    factors = [(limit / (norm + 1e-6)).clamp(max=1.0) for norm in norms]
    torch._foreach_mul_(_own_parts(grads), factors)


def _clip_common_norm_(grads: list[Tensor], limit: float, norm_type: float) -> None:
    norms = _norms(grads, norm_type)
    total = torch.linalg.vector_norm(
        torch.stack([norm.to(norms[0].device) for norm in norms]), norm_type
    )
    factor = (limit / (total + 1e-6)).clamp(max=1.0)
    grads = _own_parts(grads)
    if total.device == grads[0].device and len({grad.device for grad in grads}) == 1:
        torch._foreach_mul_(grads, factor)
        return
    for grad in grads:
        grad.mul_(factor.to(grad.device))


def _own_parts(grads: list[Tensor]) -> list[Tensor]:
    """What this process has of each gradient: all of it, but for those of a sharded model."""
    return [grad.to_local() if isinstance(grad, DTensor) else grad for grad in grads]


def _norms(grads: list[Tensor], norm_type: float) -> list[Tensor]:
    """() of each gradient, also of one whose parts lie in several processes."""
    parts = _own_parts(grads)
    # torch's own norm of a part that has nothing fails for the largest element, in one process.
    norms = list(
        torch._foreach_norm([p if p.numel() else p.new_zeros(1) for p in parts], norm_type)
    )
    sharded = [place for place, grad in enumerate(grads) if isinstance(grad, DTensor)]
    if not sharded:
        return norms
    # By hand, as arithmetic on norms of parts is wrong in torch 2.8.
    found = torch.stack([norms[place] for place in sharded])
    group = grads[sharded[0]].device_mesh.get_group()  # type: ignore[attr-defined]
    if norm_type == math.inf:
        dist.all_reduce(found, dist.ReduceOp.MAX, group)
    else:
        found = found**norm_type
        dist.all_reduce(found, dist.ReduceOp.SUM, group)
        found = found ** (1 / norm_type)
    for place, norm in zip(sharded, found.unbind(), strict=True):
        norms[place] = norm
    return norms


_CLIPPERS: dict[GradientClipType, Callable[[list[Tensor], float, float], None]] = {
    GradientClipType.VALUE: _clip_values_,
    GradientClipType.NORM: _clip_each_norm_,
    GradientClipType.FULL_MODEL: _clip_common_norm_,
}


Clipper = Callable[[Any], None]
_OptimizerOrClass = TypeVar("_OptimizerOrClass", Optimizer, type[Optimizer])


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: _OptimizerOrClass) -> _OptimizerOrClass:
    """Let an optimizer clip as SOLVER.CLIP_GRADIENTS says before each step.

    Args:
        cfg: a whole configuration.
        optimizer: a class of optimizers; or an optimizer, which is changed in place.

    Returns:
        A subclass of the class, of the same name, or the optimizer. If clipping is off, what was
        given.

    Raises:
        ConfigError: if the type is unknown or the limit is not positive.
    """
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        return optimizer
    clip_ = _create_gradient_clipper(cfg.SOLVER.CLIP_GRADIENTS)
    if isinstance(optimizer, Optimizer):
        optimizer.__class__ = _generate_optimizer_class_with_gradient_clipping(
            type(optimizer), global_clipper=clip_
        )
        return optimizer
    return _generate_optimizer_class_with_gradient_clipping(optimizer, global_clipper=clip_)


def _create_gradient_clipper(cfg: CfgNode) -> Clipper:
    """What clips the gradients of one parameter, or of several together, in place.

    Args:
        cfg: the node SOLVER.CLIP_GRADIENTS; ENABLED is not read.

    Raises:
        ConfigError: if the type is unknown or the limit is not positive.
    """
    known = [kind.value for kind in GradientClipType]
    if cfg.CLIP_TYPE not in known:
        raise ConfigError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '{cfg.CLIP_TYPE}'; choose one of "
            f"{', '.join(known)}."
        )
    if cfg.CLIP_VALUE <= 0:
        raise ConfigError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE is {cfg.CLIP_VALUE}; it must be positive. "
            "To train without clipping set SOLVER.CLIP_GRADIENTS.ENABLED False."
        )
    clip_ = _CLIPPERS[GradientClipType(cfg.CLIP_TYPE)]
    limit, norm_type = float(cfg.CLIP_VALUE), float(cfg.NORM_TYPE)

    def clip_gradients_(parameters: Tensor | Iterable[Tensor]) -> None:
        given = [parameters] if isinstance(parameters, Tensor) else parameters
        grads = [parameter.grad for parameter in given if parameter.grad is not None]
        if grads:
            with torch.no_grad():
                clip_(grads, limit, norm_type)

    return clip_gradients_


def _generate_optimizer_class_with_gradient_clipping(
    optimizer: type[Optimizer],
    *,
    per_param_clipper: Clipper | None = None,
    global_clipper: Clipper | None = None,
) -> type[Optimizer]:
    """A subclass, of the same name, that clips before each step.

    Args:
        optimizer: the class.
        per_param_clipper: called with each parameter that has a gradient.
        global_clipper: called with all parameters.
    """

    def clip_all_(self: Optimizer) -> None:
        parameters = [param for group in self.param_groups for param in group["params"]]
        if global_clipper is not None:
            global_clipper(parameters)
        if per_param_clipper is not None:
            for parameter in parameters:
                if parameter.grad is not None:
                    per_param_clipper(parameter)

    return _with_call_before_step(optimizer, clip_all_)


def _with_call_before_step(
    base: type[Optimizer], before_step: Callable[[Optimizer], None]
) -> type[Optimizer]:
    def step(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            before_step(self)
            return base.step(self)

        def closure_then_clip() -> Any:
            # The closure computes the gradients, so they can be clipped only now.
            loss = closure()
            before_step(self)
            return loss

        return base.step(self, closure_then_clip)

    # A gradient scaler leaves it to fused optimizers to divide by its scale and to skip a step, so
    # that scaled gradients would be clipped; from this one it sees that it has to do both before.
    handles_scales = property(lambda self: False, lambda self, value: None)
    members = {"step": step, "_step_supports_amp_scaling": handles_scales, "__module__": __name__}
    return type(base.__name__, (base,), members)
