"""Reports of steps that were not finite: written beside the checkpoints, and read again."""

import json
import logging
from pathlib import Path
from typing import Any

from torch import nn

from d2lite.checkpoint.serializable import to_serializable
from d2lite.checkpoint.writing import save_to_stream
from d2lite.config import CfgNode
from d2lite.utils import comm
from d2lite.utils.errors import DataError, MissingFileError, OutputError
from d2lite.utils.file_io import atomic_write

from ..defaults.built_run import BuiltRun
from ..evaluating.evaluate_datasets import unwrap
from ..stepping.loss_guard import LossGuard, StepRecord

logger = logging.getLogger(__name__)


def build_guard(cfg: CfgNode) -> LossGuard:
    """Make the guard that SOLVER.NONFINITE and SOLVER.GRADIENT_ALARM describe."""
    node = cfg.SOLVER.NONFINITE
    return LossGuard(
        node.CHECK_PERIOD,
        action=node.ACTION,
        max_skips=node.MAX_SKIPS,
        alarm=cfg.SOLVER.GRADIENT_ALARM,
    )


def write_report(trainer: BuiltRun, record: StepRecord) -> str:
    """Write what is known of a step that was not finite into OUTPUT_DIR.

    Where the weights that it was made with are still there, they go beside it.

    Args:
        trainer: of the run.
        record: of the step.

    Returns:
        How to load the batch again; why not, where nothing can be written.
    """
    rank, folder = comm.get_rank(), Path(trainer.cfg.OUTPUT_DIR)
    stem = f"blow_up_{record.iteration:07d}" + (f"_rank{rank}" if rank else "")
    model = unwrap(trainer.model)
    is_there = trainer.iter == record.iteration and _is_finite(model)
    report = {
        **record.as_dict(),
        "seed": trainer.seed,
        "rank": rank,
        "num_processes": comm.get_world_size(),
        "config": "config.yaml",
        "weights": f"{stem}.pth" if is_there else None,
        "last_checkpoint": Path(trainer.checkpointer.get_checkpoint_file()).name or None,
    }
    path = folder / f"{stem}.json"
    try:
        if is_there:
            with atomic_write(folder / f"{stem}.pth", "wb") as stream:
                save_to_stream(to_serializable({"model": model.state_dict()}), stream)
        with atomic_write(path) as file:
            file.write(json.dumps(report, indent=2) + "\n")
    except OutputError as error:
        return f"(No report of it: {error})"
    return f"To load this batch again: python tools/replay_batch.py {path}"


def _is_finite(model: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def read_report(path: Path) -> dict[str, Any]:
    """Read what `write_report` wrote.

    Args:
        path: of the .json file.

    Raises:
        MissingFileError: if it is not there.
        DataError: if it is no such report.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read: {error.strerror}. Reports lie in the OUTPUT_DIR of their run "
            "as blow_up_ITERATION.json."
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is no report of a step: {error}.") from error
    wanted = {"iteration", "losses", "images", "seed", "rank", "num_processes", "config"}
    if not isinstance(report, dict) or not wanted <= report.keys():
        raise DataError(f"{path} is no report of a step; it lacks {', '.join(sorted(wanted))}.")
    return report
