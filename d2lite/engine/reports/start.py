"""describe_run: what a training is going to do, in one table before its first iteration."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode, PythonRunConfig
from d2lite.data.dataset_dicts import describe_sets
from d2lite.utils import comm
from d2lite.utils.comm import unwrap

from ..derived_config import epoch_length


def describe_run(
    cfg: CfgNode,
    model: nn.Module,
    data_loader: Any,
    *,
    start_iter: int,
    origin: dict[str, str],
) -> str:
    """Lines about data, model, batch, loader, length, evaluation, saving and origin of a run.

    Args:
        cfg: the whole config, derived values included.
        model: as it is trained.
        data_loader: of the training.
        start_iter: the first iteration; above 0 after a resume.
        origin: names and values that say where the code and the config come from.
    """
    rows = [
        ("data", describe_sets(cfg.DATASETS.TRAIN) or ", ".join(cfg.DATASETS.TRAIN) or "own"),
        ("model", _model(unwrap(model))),
        ("weights", _weights(cfg, start_iter)),
        ("batch", _batch(cfg)),
        ("loader", _loader(data_loader)),
        ("length", _length(cfg, data_loader, start_iter)),
        ("evaluation", _evaluation(cfg)),
        ("saving", _saving(cfg)),
        ("memory", memory_in_use()),
        *((name.replace("_", " "), value) for name, value in origin.items()),
    ]
    return "This run:\n" + "\n".join(f"  {name:<12}{value}" for name, value in rows if value)


def memory_in_use() -> str:
    """What the devices hold, and the most that they held since the start of the process."""
    if not torch.cuda.is_available():
        return _peak_of_process()
    device = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info(device)
    most = torch.cuda.max_memory_reserved(device)
    return (
        f"GPU {device}: {(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB in use, "
        f"{most / 2**30:.1f} at most by this process"
    )


def _peak_of_process() -> str:
    status = Path("/proc/self/status")
    if not status.exists():
        return ""
    found = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    now, most = (int(found.get(key, "0").split()[0]) / 2**20 for key in ("VmRSS", "VmHWM"))
    return f"process: {now:.1f} GiB, {most:.1f} at most"


def count_parameters(model: nn.Module) -> str:
    """How many parameters a model has, and how many of them are trained, in words."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{total / 1e6:.2f} million parameters, {trained / 1e6:.2f} of them trained"


def _model(model: nn.Module) -> str:
    text = f"{type(model).__name__}, {count_parameters(model)}"
    describe: Any = getattr(getattr(model, "backbone", None), "output_shape", dict)
    strides = sorted({shape.stride for shape in describe().values() if shape.stride})
    return f"{text}, features at strides {', '.join(map(str, strides))}" if strides else text


def _weights(cfg: CfgNode, start_iter: int) -> str:
    if start_iter:
        return f"those of the resumed run, after {start_iter} iterations"
    return cfg.MODEL.WEIGHTS or "random (MODEL.WEIGHTS is empty)"


def _batch(cfg: CfgNode) -> str:
    processes, total = comm.get_world_size(), cfg.SOLVER.IMS_PER_BATCH
    steps = cfg.SOLVER.ACCUMULATE_STEPS
    parts = [f"{total} images"]
    if processes > 1:
        parts.append(f"{total // processes} in each of {processes} processes")
    if steps > 1:
        parts.append(f"{steps} batches accumulated for an update of {total * steps} images")
    return ", ".join(parts)


def _loader(data_loader: Any) -> str:
    workers = getattr(data_loader, "num_workers", None)
    if workers is None:
        return ""
    if not workers:
        return "no worker processes (NUM_WORKERS 0)"
    return f"{workers} worker process{'es' if workers > 1 else ''}"


def _length(cfg: CfgNode, data_loader: Any, start_iter: int) -> str:
    last, epoch = cfg.SOLVER.MAX_ITER, epoch_length(data_loader)
    left = max(last - start_iter, 0)
    text = f"{left} iterations, from {start_iter} to {last}"
    return text if epoch is None else f"{text}; {left / epoch:.1f} epochs of {epoch:g} iterations"


def _every(period: int, last: int) -> str:
    """When something of a period happens; at the end it always does."""
    return f"every {period} iterations and at the end" if 0 < period < last else "at the end"


def _evaluation(cfg: CfgNode) -> str:
    if not len(cfg.DATASETS.TEST):
        return "none (DATASETS.TEST is empty)"
    when = _every(cfg.TEST.EVAL_PERIOD, cfg.SOLVER.MAX_ITER)
    stopping = cfg.SOLVER.EARLY_STOPPING
    text = f"on {', '.join(cfg.DATASETS.TEST)} {when}"
    if stopping.METRIC:
        text += f"; stops after {stopping.PATIENCE} without a better {stopping.METRIC}"
    return text


def _saving(cfg: CfgNode) -> str:
    when = _every(cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.MAX_ITER)
    kind = "Python config" if isinstance(cfg, PythonRunConfig) else "config"
    return f"{when}, with log and {kind}, in {cfg.OUTPUT_DIR}"
