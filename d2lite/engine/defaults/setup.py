"""default_setup and create_ddp_model: what a training script needs around its trainer."""

import logging
import os
import platform
from collections import Counter
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from d2lite import __version__
from d2lite.config import (
    CfgNode,
    LazyConfig,
    PythonRunConfig,
    annotated_yaml,
    as_run_config,
    check_numbers,
    get_cfg,
)
from d2lite.layers import sync_on_cpu_
from d2lite.projects import add_project_configs
from d2lite.utils import comm
from d2lite.utils.collect_env import collect_env_info
from d2lite.utils.env import seed_all_rng
from d2lite.utils.errors import ConfigError
from d2lite.utils.logger import setup_logger
from d2lite.utils.output_mirror import address_of
from d2lite.utils.provenance import command_line

from ..derived_config import resolve_seed, scale_learning_rate
from ..resuming import seed_of_checkpoint
from ..sharding import is_sharded
from .output_dir import follow_output_address, prepare_output_dir, write_config

logger = logging.getLogger(__name__)


def default_setup(cfg: CfgNode, args: Any) -> None:
    """Prepare the process: output folder, log, environment report, seed, config.yaml.

    Args:
        cfg: the whole config, also a Python one (`LazyConfig`); a negative SEED, or a missing
            train.seed, is replaced by a drawn one.
        args: parsed arguments; `eval_only`, `resume` and `auto_scale_lr` are read where they exist.

    Raises:
        OutputError: if OUTPUT_DIR cannot be written.
        ConfigError: if FLOAT32_PRECISION is not known, or a number is out of its range.
    """
    given, cfg = cfg, as_run_config(cfg)
    is_eval = getattr(args, "eval_only", False)
    follow_output_address(cfg, resume=bool(getattr(args, "resume", False)))
    if given is not cfg and address_of(cfg.OUTPUT_DIR) != cfg.OUTPUT_DIR:
        LazyConfig.apply_overrides(given, [f"++train.output_dir={cfg.OUTPUT_DIR}"])
    prepare_output_dir(cfg.OUTPUT_DIR)
    check_numbers(cfg)
    rank = comm.get_rank()
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    in_file = {"hidden_on_console": True}
    logger.info(
        f"Process {rank} of {comm.get_world_size()}: d2lite {__version__}, torch "
        f"{torch.__version__}, Python {platform.python_version()} (more in log.txt)"
    )
    logger.info(f"Environment:\n{collect_env_info()}", extra=in_file)
    logger.info(f"Command: {command_line()}")
    resume = getattr(args, "resume", False)
    is_drawn = cfg.SEED < 0
    resolve_seed(cfg, seed_of_checkpoint(cfg.OUTPUT_DIR, resume) if resume and is_drawn else None)
    seed_all_rng(cfg.SEED)
    if given is not cfg and isinstance(cfg, PythonRunConfig):
        # The caller hands the same config to a trainer.
        LazyConfig.apply_overrides(given, [f"++train.seed={cfg.SEED}"])
    if getattr(args, "auto_scale_lr", False):
        if isinstance(cfg, PythonRunConfig):
            raise ConfigError("--auto-scale-lr cannot change a Python config; set optimizer.lr=...")
        scale_learning_rate(cfg)
    config_path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    # An evaluation must not put its own options into the record of the training.
    if comm.is_main_process() and not (is_eval and config_path.exists()):
        write_config(cfg)
    logger.info(_describe_origins(cfg, config_path))
    logger.info(_describe_options(cfg), extra=in_file)
    if not is_eval:
        # Evaluation images have many sizes, and trying algorithms for each costs more than it
        # gives.
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not cfg.DETERMINISTIC
    if cfg.DETERMINISTIC:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    precision = cfg.FLOAT32_PRECISION
    if precision:
        if precision not in ("highest", "high", "medium"):
            raise ConfigError(
                f"FLOAT32_PRECISION={precision!r} is not known; use 'highest', 'high', 'medium' or "
                "'' to leave torch's default."
            )
        torch.set_float32_matmul_precision(precision)


def _try_get_key(cfg: Any, *keys: str, default: Any = None) -> Any:
    """The value of the first dotted key that a config of either kind has; for people's scripts."""
    for key in keys:
        value = cfg
        for part in key.split("."):
            value = value[part] if isinstance(value, Mapping) and part in value else None
            if value is None:
                break
        else:
            return value
    return default


def _describe_origins(cfg: CfgNode, config_path: Path) -> str:
    """How many options come from where."""
    where = f"all are in {config_path}, with their origins in log.txt"
    if isinstance(cfg, PythonRunConfig):
        return f"Options of a Python config; {where}"
    base = _defaults()
    known = dict(base.keys_and_values())
    changed = [key for key, value in cfg.keys_and_values() if known.get(key) != value]
    counts = Counter(" ".join(cfg.origin(key).split()) for key in changed)
    parts = [f"{count} of the {origin}" for origin, count in counts.items()]
    return f"Options that differ from the defaults: {', '.join(parts) or 'none'} ({where})"


def _describe_options(cfg: CfgNode) -> str:
    if isinstance(cfg, PythonRunConfig):
        return f"The Python config:\n{LazyConfig.to_py(cfg.parts)}"
    differing = annotated_yaml(cfg, only_diff=True, base=_defaults())
    return f"Options that differ from the defaults:\n{differing}"


def _defaults() -> CfgNode:
    defaults = get_cfg()
    add_project_configs(defaults)
    return defaults


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wrap a model for training in several processes.

    Args:
        model: on its device.
        fp16_compression: send gradients between processes in float16.
        **kwargs: arguments of DistributedDataParallel.

    Returns:
        The wrapped model, or the model itself in a run of one process and where it is sharded.
    """
    if comm.get_world_size() == 1 or is_sharded(model):
        return model
    takes_new_name = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    if takes_new_name and "broadcast_buffers" in kwargs:
        # The name since torch 2.13, which warns of the old one.
        kwargs["forward_sync_buffers"] = kwargs.pop("broadcast_buffers")
    is_cuda = any(parameter.is_cuda for parameter in model.parameters())
    if not is_cuda:
        sync_on_cpu_(model)
    if is_cuda and "device_ids" not in kwargs:
        kwargs["device_ids"] = [comm.get_local_rank()]
    wrapped = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        wrapped.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return wrapped
