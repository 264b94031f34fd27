"""What a training script does before its trainer: arguments, config, log, seed."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from d2lite.config import CfgNode, annotated_yaml, find_config_file, get_cfg
from d2lite.layers import sync_on_cpu_
from d2lite.projects import add_project_configs
from d2lite.utils import comm
from d2lite.utils.collect_env import collect_env_info
from d2lite.utils.env import seed_all_rng
from d2lite.utils.errors import ConfigError, OutputError
from d2lite.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from d2lite.utils.file_io import atomic_write
from d2lite.utils.logger import setup_logger

from ..command_line.resume_argument import ToolParser, add_resume_argument
from ..command_line.user_code import import_user_code
from ..derived_config.scaling import scale_learning_rate
from ..resuming.checkpoint_peek import seed_of_checkpoint
from ..sharding import is_sharded

logger = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  train:            {program} --config-file configs/quick_start.yaml
  go on:            {program} --config-file configs/quick_start.yaml --resume
  change options:   {program} --config-file R50_3x.yaml MODEL.WEIGHTS w.pth SOLVER.BASE_LR 0.001
  evaluate:         {program} --config-file out/config.yaml --eval-only MODEL.WEIGHTS out/w.pth
  2 GPUs:           {program} --config-file R50_3x.yaml --num-gpus 2
  2 machines:       {program} --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://H:P
"""


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of a training tool.

    Args:
        epilog: text at the end of --help; examples if not given.

    Returns:
        A parser with --config-file, --import, --resume, --eval-only, --num-gpus, --num-machines,
        --machine-rank, --dist-url and trailing KEY VALUE pairs (`opts`).
    """
    parser = ToolParser(
        epilog=epilog or _EXAMPLES.format(program=Path(sys.argv[0]).name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_arguments(parser)
    add_resume_argument(parser)
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the config file's learning rate to SOLVER.IMS_PER_BATCH, by the linear rule",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS alone")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine")
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        help="where the processes meet, as tcp://HOST:PORT; 'auto' finds a port on one machine",
    )
    add_config_options(parser, "opts")
    return parser


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every tool has that reads a config: --config-file and --import.

    Args:
        parser: changed in place.
    """
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="path of a config, or (part of) the name of one under configs/ and projects/*/configs",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE",
        help="your own Python file (or module) with models, datasets or an add_config(cfg); "
        "may be given several times",
    )


def add_config_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add KEY VALUE pairs that come last on the command line and win over the config file.

    Args:
        parser: changed in place.
        name: "opts" for trailing pairs, "--opts" for pairs behind that word.
    """
    parser.add_argument(
        name,
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="options that come last and win over the config file",
    )


def setup_cfg(
    config_file: str = "", opts: Sequence[str] = (), imports: Sequence[str] = ()
) -> CfgNode:
    """Make the config of a tool: defaults, projects, user's code, file, command line.

    Args:
        config_file: path or (partial) name of a config; "" for the defaults.
        opts: KEY, VALUE, KEY, VALUE, ...
        imports: Python files or modules to import first; a function `add_config(cfg)` in one of
            them is called, so that it can add keys.

    Returns:
        The config, not frozen.
    """
    cfg = get_cfg()
    add_project_configs(cfg)
    for path_or_module in imports:
        add_config = getattr(import_user_code(path_or_module), "add_config", None)
        if add_config is not None:
            add_config(cfg)
    if config_file:
        cfg.merge_from_file(find_config_file(config_file))
    # argparse hands a "--" that ends the options on to the rest.
    cfg.merge_from_list([word for word in opts if word != "--"])
    return cfg


def default_setup(cfg: CfgNode, args: Any) -> None:
    """Prepare the process: output folder, log, environment report, seed, config.yaml.

    Args:
        cfg: the whole config; a negative SEED is replaced by a drawn one.
        args: parsed arguments; `eval_only`, `resume` and `auto_scale_lr` are read where they exist.

    Raises:
        OutputError: if OUTPUT_DIR cannot be written.
        ConfigError: if FLOAT32_PRECISION is not known.
    """
    is_eval = getattr(args, "eval_only", False)
    prepare_output_dir(cfg.OUTPUT_DIR)
    rank = comm.get_rank()
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    logger.info(f"Process {rank} of {comm.get_world_size()}; environment:\n{collect_env_info()}")
    logger.info(f"Command: {' '.join(sys.argv)}")
    resolve_seed(cfg, resume=getattr(args, "resume", False))
    seed_all_rng(cfg.SEED)
    if getattr(args, "auto_scale_lr", False):
        scale_learning_rate(cfg)
    config_path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    # An evaluation must not put its own options into the record of the training.
    if comm.is_main_process() and not (is_eval and config_path.exists()):
        write_config(cfg)
    defaults = get_cfg()
    add_project_configs(defaults)
    logger.info(
        f"Options that differ from the defaults (all of them: {config_path}):\n"
        f"{annotated_yaml(cfg, only_diff=True, base=defaults)}"
    )
    if not is_eval:
        # Evaluation images have many sizes, and trying algorithms for each costs more than it
        # gives.
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    precision = cfg.FLOAT32_PRECISION
    if precision:
        if precision not in ("highest", "high", "medium"):
            raise ConfigError(
                f"FLOAT32_PRECISION={precision!r} is not known; use 'highest', 'high', 'medium' or "
                "'' to leave torch's default."
            )
        torch.set_float32_matmul_precision(precision)


def prepare_output_dir(output_dir: str) -> None:
    """Make the output folder and see that files can be written there.

    Args:
        output_dir: the folder; missing parents are made.

    Raises:
        OutputError: if it cannot be made or written.
    """
    try:
        os.makedirs(output_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise OutputError(
            f"OUTPUT_DIR {output_dir!r} cannot be written: {error.strerror or error}. Choose a "
            "folder of yours by OUTPUT_DIR /path/to/folder at the end of the command."
        ) from error


def resolve_seed(cfg: CfgNode, *, resume: bool | str = False) -> int:
    """Replace a negative SEED by a drawn one, the same in all processes.

    Args:
        cfg: its SEED is derived in place, also where the config is frozen.
        resume: take the seed that the run began with, so that the stream of samples is the same:
            that of the last checkpoint of OUTPUT_DIR, or of the one whose path this is.

    Returns:
        The seed.
    """
    if cfg.SEED < 0:
        stored = seed_of_checkpoint(cfg.OUTPUT_DIR, resume) if resume else None
        # One process's view of the folder counts: a shared seed must not hang on a file system.
        stored = comm.all_gather(stored)[0]
        drawn = comm.shared_random_seed() if stored is None else stored
        cfg.derive("SEED", drawn, "drawn" if stored is None else "drawn before the resume")
        logger.info(f"SEED {drawn} ({cfg.origin('SEED')})")
    return int(cfg.SEED)


def write_config(cfg: CfgNode) -> None:
    """Write OUTPUT_DIR/config.yaml, from which the same model can be built again.

    A MODEL.DEVICE that nobody set is left out, so that the file works on other machines.

    Args:
        cfg: the whole config.
    """
    saved = cfg.clone()
    if cfg.is_default("MODEL.DEVICE"):
        saved.defrost()
        del saved.MODEL["DEVICE"]
    with atomic_write(Path(cfg.OUTPUT_DIR) / "config.yaml") as file:
        file.write(saved.dump())


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Make the writers of a run: console, metrics.json and TensorBoard.

    Args:
        output_dir: where the files go.
        max_iter: length of the run, for the time that is left.
    """
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]


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
