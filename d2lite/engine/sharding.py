"""Fully sharded training: each process keeps a part of weights, gradients and optimizer state.

Built on FSDP2 (`torch.distributed.fsdp.fully_shard`). The parts are gathered for a block of the
backbone when it computes, and freed after it. The rest of the code does not see it: checkpoints
hold whole, ordinary tensors, and an evaluation runs on whole weights, since there processes have
different numbers of images and must not wait for each other.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from d2lite.layers import sync_on_cpu_
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def shard_model_(model: nn.Module, *, min_params: int = 100_000) -> None:
    """Spread a model's parameters over all processes, in place.

    The blocks of the backbone (members of its lists and sequences of modules) are gathered one
    after another; all other parameters together for the whole step. Build the optimizer
    afterwards: it has to move the parts.

    Args:
        model: on its device; its weights are taken from the main process.
        min_params: smaller blocks are not worth a gathering of their own.

    Raises:
        ConfigError: on a device that cannot do it, or for a compiled model.
    """
    device = next(model.parameters()).device
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"SOLVER.FSDP.ENABLED cannot spread a model over devices of type {device.type!r}; use "
            "MODEL.DEVICE cuda, or leave it out."
        )
    if any(module._compiled_call_impl is not None for module in model.modules()):
        raise ConfigError(
            "SOLVER.FSDP.ENABLED and MODEL.COMPILE were not tried together; leave one of them out."
        )
    for tensor in (*model.parameters(), *model.buffers()):
        # Parts of models that were drawn differently would make up none.
        dist.broadcast(tensor.data, src=0)
    if device.type == "cpu":
        sync_on_cpu_(model)
    mesh = init_device_mesh(device.type, (comm.get_world_size(),))
    blocks = list(_find_blocks(getattr(model, "backbone", model), min_params))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if device.type == "cpu":
        for unit in model.modules():
            if isinstance(unit, FSDPModule):
                # With torch 2.8 Gloo silently gives sums where means are asked for.
                unit.set_force_sum_reduction_for_comms(True)
    model.register_load_state_dict_pre_hook(_take_own_parts)
    apart = sum(_count(block) for block in blocks)
    logger.info(
        f"Each of {comm.get_world_size()} processes keeps a part of the model (SOLVER.FSDP): "
        f"{len(blocks)} blocks of the backbone with {apart / 1e6:.2f} million parameters are "
        "gathered one by one"
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _find_blocks(module: nn.Module, min_params: int) -> Iterator[nn.Module]:
    """The outermost members of containers that are large enough, in order."""
    is_container = isinstance(module, nn.Sequential | nn.ModuleList)
    for child in module.children():
        # A list of modules is never called itself, so it can gather nothing.
        is_called = not isinstance(child, nn.ModuleList | nn.ModuleDict)
        is_plain = not isinstance(child, nn.Sequential)
        if is_container and is_called and is_plain and _count(child) >= min_params:
            yield child
        else:
            yield from _find_blocks(child, min_params)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard_model_` was here."""
    return isinstance(model, FSDPModule)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Inside, every process has all weights, and a forward pass waits for nobody.

    Every process has to enter; a model that is not sharded stays as it is. Weights must not be
    changed inside.

    Args:
        model: without a wrapper.
    """
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.unshard()
        unit.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for unit in units:
            # As fully_shard has it: what the root holds stays until the step is over.
            unit.set_reshard_after_forward(unit is not model, recurse=False)
            unit.reshard()


def gather_state(state: Any) -> Any:
    """A copy of nested containers in which parts have become whole tensors of the CPU.

    Every process has to call this with parts in the same order.

    Args:
        state: dicts, lists and tuples with tensors and plain values.

    Returns:
        On the main process the copy; on others one that lacks the tensors.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.detach().cpu() if comm.is_main_process() else None
    if isinstance(state, Mapping):
        gathered = type(state)() if isinstance(state, dict) else {}
        for key, value in state.items():
            gathered[key] = gather_state(value)
        if hasattr(state, "_metadata"):
            # The version of each module, which norm layers look at when they are loaded.
            gathered._metadata = state._metadata  # type: ignore[attr-defined]
        return gathered
    if isinstance(state, list | tuple):
        return type(state)(gather_state(value) for value in state)
    return state


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor.

    Args:
        value: the same in all processes.
        like: the tensor that is spread as the new one is to be; one that is not spread
            leaves `value` as it is.
    """
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    value = value.to(like.device)
    # Each process cuts its own part without communication: all of them read the same file.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _take_own_parts(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_others: Any
) -> None:
    """Before a state dict is loaded: replace whole tensors by this process's parts."""
    for name, parameter in module.named_parameters(remove_duplicate=False):
        key = prefix + name
        if key in state_dict:
            state_dict[key] = shard_like(state_dict[key], parameter)


def load_whole_state_(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer of parts load the state that one of whole parameters saved.

    Args:
        optimizer: changed in place.
    """
    optimizer.register_load_state_dict_pre_hook(_parts_of_optimizer_state)


def _parts_of_optimizer_state(
    optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]
) -> dict[str, Any]:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    param_of = dict(zip(numbers, params, strict=False))
    parts = {}
    for number, values in state_dict["state"].items():
        param = param_of[number]
        parts[number] = {
            # Others are counters, which every process has for itself.
            name: shard_like(value, param)
            if isinstance(value, Tensor) and value.shape == param.shape
            else value
            for name, value in values.items()
        }
    return {**state_dict, "state": parts}
