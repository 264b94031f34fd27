"""build_optimizer and build_lr_scheduler: the SOLVER node of a configuration, made real."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2lite.config import CfgNode, PythonRunConfig
from d2lite.utils.errors import ConfigError

from .gradient_clipping import (
    GradientClipType,
    _create_gradient_clipper,
    _generate_optimizer_class_with_gradient_clipping,
    maybe_add_gradient_clipping,
)
from .lr_scheduler import LRMultiplier, WarmupParamScheduler, WarmupPolyLR
from .parameter_rules import NameRule, name_rules
from .schedules import cosine, fixed_gamma_steps, flat_cosine, multi_step, one_cycle

__all__ = [
    "GradientClipType",
    "_create_gradient_clipper",
    "_generate_optimizer_class_with_gradient_clipping",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
]

_logger = logging.getLogger(__name__)

ParamGroup = dict[str, Any]

_NORM_TYPES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)


def build_optimizer(
    cfg: CfgNode, model: nn.Module, groups: list[ParamGroup] | None = None
) -> Optimizer:
    """The optimizer that SOLVER describes, over the trainable parameters of a model.

    Args:
        cfg: the whole configuration.
        model: its trainable parameters are grouped by SOLVER.
        groups: of parameters, in place of those.

    Raises:
        ConfigError: if SOLVER.OPTIMIZER is unknown or nothing in the model is trainable.
    """
    if isinstance(cfg, PythonRunConfig):
        made: Optimizer = cfg.make("optimizer", {"optimizer.params.model": model})
        return maybe_add_gradient_clipping(cfg, made)
    solver = cfg.SOLVER
    if groups is None:
        groups = configured_groups(cfg, model)
    if not groups:
        raise ConfigError(
            "The model has no trainable parameter: everything is frozen. "
            "Check MODEL.BACKBONE.FREEZE_AT and requires_grad of your own modules."
        )
    kinds: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
        "sgd": (SGD, {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}),
        "adam": (Adam, {"betas": tuple(solver.BETAS)}),
        "adamw": (AdamW, {"betas": tuple(solver.BETAS)}),
    }
    if solver.OPTIMIZER.lower() not in kinds:
        raise ConfigError(
            f"SOLVER.OPTIMIZER is '{solver.OPTIMIZER}'; choose one of Adam, AdamW, SGD. "
            "For another one override build_optimizer of your trainer."
        )
    kind, options = kinds[solver.OPTIMIZER.lower()]
    # One pass over the parameters instead of one per operation; torch lacks it for parts of them.
    options["fused"] = all(
        param.device.type in ("cpu", "cuda") and not isinstance(param, DTensor)
        for group in groups
        for param in group["params"]
    )
    make: Callable[..., Optimizer] = maybe_add_gradient_clipping(cfg, kind)
    return make(groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY, **options)


def configured_groups(cfg: CfgNode, model: nn.Module, **more: Any) -> list[ParamGroup]:
    """The parameter groups that SOLVER describes.

    Args:
        cfg: the whole config.
        model: whose parameters they are.
        more: further arguments of `get_default_optimizer_params`.
    """
    solver = cfg.SOLVER
    return get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        name_rules=name_rules(cfg, model),
        **more,
    )


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: Mapping[str, Mapping[str, float]] | None = None,
    weight_decay_embed: float | None = None,
    name_rules: Mapping[str, NameRule] | None = None,
) -> list[ParamGroup]:
    """Parameter groups by the usual rules of detection.

    Each trainable parameter appears once, also where modules share it. None leaves a value to the
    optimizer's own default.

    Args:
        model: its trainable parameters are grouped.
        base_lr: learning rate.
        weight_decay: weight decay of all but norm layers.
        weight_decay_norm: weight decay of the parameters of norm layers.
        bias_lr_factor: learning rate of parameters named "bias", as a multiple of `base_lr`.
        weight_decay_bias: weight decay of parameters named "bias", those of norm layers included.
        lr_factor_func: from a parameter's full name to a factor of its learning rate.
        overrides: by the last part of a parameter's name, values that replace all of the above:
            {"embedding": {"lr": 0.01, "weight_decay": 0.1}}.
        weight_decay_embed: weight decay of `nn.Embedding`; None for that of other layers.
        name_rules: by full name, a factor of the learning rate that results from the above, and a
            weight decay in its place; see `parameter_rules.name_rules`.

    Returns:
        Groups for an optimizer; parameters of equal values are in one group.

    Raises:
        ConfigError: if a learning-rate rule comes without `base_lr`, or the values for "bias" are
            given twice.
    """
    bias_values: dict[str, float] = {}
    if bias_lr_factor is not None and bias_lr_factor != 1.0:
        bias_values["lr"] = _require_base_lr(base_lr, "bias_lr_factor") * bias_lr_factor
    if weight_decay_bias is not None:
        bias_values["weight_decay"] = weight_decay_bias
    replaced = dict(overrides or {})
    if bias_values:
        if "bias" in replaced:
            raise ConfigError(
                f"overrides has values for 'bias', and so have bias_lr_factor={bias_lr_factor} "
                f"and weight_decay_bias={weight_decay_bias}. Give them in one way alone."
            )
        replaced["bias"] = bias_values

    groups: list[ParamGroup] = []
    for module, full_name, param in _trainable_parameters(model):
        is_norm = weight_decay_norm is not None and _is_norm(module)
        values = {
            "lr": base_lr,
            "weight_decay": weight_decay_norm if is_norm else weight_decay,
        }
        if weight_decay_embed is not None and isinstance(module, nn.Embedding):
            values["weight_decay"] = weight_decay_embed
        if lr_factor_func is not None:
            values["lr"] = _require_base_lr(base_lr, "lr_factor_func") * lr_factor_func(full_name)
        values.update(replaced.get(full_name.rpartition(".")[2], {}))
        rule = (name_rules or {}).get(full_name)
        if rule is not None:
            values["lr"] = _require_base_lr(values["lr"], "name_rules") * rule.lr_factor
            if rule.weight_decay is not None:
                values["weight_decay"] = rule.weight_decay
        known = {name: value for name, value in values.items() if value is not None}
        groups.append({"params": [param], **known})
    return reduce_param_groups(groups)


def _require_base_lr(base_lr: float | None, rule: str) -> float:
    if base_lr is None:
        raise ConfigError(f"{rule} multiplies the learning rate, but base_lr is None. Give both.")
    return base_lr


def _is_norm(module: nn.Module) -> bool:
    # Norms over the channels of maps (`layers.LayerNorm`) do not count, as in published runs.
    return isinstance(module, _NORM_TYPES)


def _trainable_parameters(
    model: nn.Module,
) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Each trainable parameter once, with its full name and the module that holds it first."""
    modules = dict(model.named_modules())
    for full_name, param in model.named_parameters():
        if param.requires_grad:
            yield modules[full_name.rpartition(".")[0]], full_name, param


def reduce_param_groups(params: list[ParamGroup]) -> list[ParamGroup]:
    """Join groups of equal values, since optimizers run one batch of kernels a group.

    Args:
        params: groups as optimizers take them; none is changed.

    Returns:
        Groups with all the parameters in the order they came, as few as possible.
    """
    joined: dict[frozenset[tuple[str, Any]], ParamGroup] = {}
    for group in _expand_param_groups(params):
        values = {name: value for name, value in group.items() if name != "params"}
        target = joined.setdefault(_values_key(values), {"params": [], **values})
        target["params"].extend(group["params"])
    return list(joined.values())


def _expand_param_groups(params: list[ParamGroup]) -> list[ParamGroup]:
    """A group for each parameter; of one in several groups, the values of the later ones win."""
    single: dict[nn.Parameter, ParamGroup] = {}
    for group in params:
        held = group["params"]
        for parameter in [held] if isinstance(held, nn.Parameter) else held:
            single.setdefault(parameter, {}).update({**group, "params": [parameter]})
    return list(single.values())


def _values_key(values: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    # Lists, such as betas read from YAML, have no hash.
    return frozenset((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items())


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """The schedule that SOLVER describes; step it after every iteration.

    Raises:
        ConfigError: if SOLVER.LR_SCHEDULER_NAME is unknown or its numbers don't fit.
    """
    if isinstance(cfg, PythonRunConfig):
        return LRMultiplier(optimizer, cfg.make("lr_multiplier"), cfg.SOLVER.MAX_ITER)
    solver = cfg.SOLVER
    makers: dict[str, Callable[[CfgNode], ParamScheduler]] = {
        "OneCycleLR": one_cycle,
        "WarmupMultiStepLR": multi_step,
        "WarmupCosineLR": cosine,
        "WarmupFlatCosineLR": flat_cosine,
        "WarmupStepWithFixedGammaLR": fixed_gamma_steps,
    }
    known = sorted([*makers, WarmupPolyLR.__name__])
    if solver.LR_SCHEDULER_NAME not in known:
        raise ConfigError(
            f"SOLVER.LR_SCHEDULER_NAME is '{solver.LR_SCHEDULER_NAME}'; choose one of "
            f"{', '.join(known)}. For another one override build_lr_scheduler of your "
            "trainer."
        )
    if solver.MAX_ITER < 1:
        raise ConfigError(f"SOLVER.MAX_ITER is {solver.MAX_ITER}; training needs 1 or more.")
    if makers.get(solver.LR_SCHEDULER_NAME) is one_cycle:
        # It begins with a rise of its own.
        return LRMultiplier(optimizer, one_cycle(solver), max_iter=solver.MAX_ITER)
    if solver.WARMUP_ITERS > solver.MAX_ITER:
        _logger.warning(
            "SOLVER.WARMUP_ITERS (%d) exceeds SOLVER.MAX_ITER (%d): the warm-up is squeezed into "
            "the whole training, and the full learning rate is never used.",
            solver.WARMUP_ITERS,
            solver.MAX_ITER,
        )
    if WarmupPolyLR.__name__ == solver.LR_SCHEDULER_NAME:
        return WarmupPolyLR(
            optimizer,
            solver.MAX_ITER,
            warmup_factor=solver.WARMUP_FACTOR,
            warmup_iters=solver.WARMUP_ITERS,
            warmup_method=solver.WARMUP_METHOD,
            # Keys of the projects that were published with this schedule.
            power=solver.get("POLY_LR_POWER", 0.9),
            constant_ending=solver.get("POLY_LR_CONSTANT_ENDING", 0.0),
        )
    multiplier = WarmupParamScheduler(
        makers[solver.LR_SCHEDULER_NAME](solver),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier, max_iter=solver.MAX_ITER)
