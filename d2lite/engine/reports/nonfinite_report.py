"""Reports of steps that were not finite: written to OUTPUT_DIR, and read again."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.checkpoint.serializable import to_serializable
from d2lite.utils import comm
from d2lite.utils.errors import DataError, MissingFileError, OutputError
from d2lite.utils.file_io import atomic_write, read_json_file, write_file

from ..stepping import StepRecord

# What a report must have to be replayed.
_NEEDED = {"iteration", "losses", "images", "seed", "rank", "num_processes", "config"}


def write_report(
    record: StepRecord,
    folder: Path,
    *,
    seed: int | None,
    model: nn.Module | None,
    last_checkpoint: str,
) -> str:
    """Write what is known of a step that was not finite.

    Args:
        record: of the step.
        folder: OUTPUT_DIR.
        seed: of the run.
        model: with the weights that the step was made with, which are written too; None if they
            have changed since.
        last_checkpoint: its path; "" for none.

    Returns:
        How to load the batch again, or why nothing can be written.
    """
    rank = comm.get_rank()
    stem = f"blow_up_{record.iteration:07d}" + (f"_rank{rank}" if rank else "")
    has_weights = model is not None and _is_finite(model)
    report = {
        **record.as_dict(),
        "seed": seed,
        "rank": rank,
        "num_processes": comm.get_world_size(),
        "config": "config.yaml",
        "weights": f"{stem}.pth" if has_weights else None,
        "last_checkpoint": Path(last_checkpoint).name or None,
    }
    path = folder / f"{stem}.json"
    try:
        if model is not None and has_weights:
            with atomic_write(folder / f"{stem}.pth", "wb") as stream:
                torch.save(to_serializable({"model": model.state_dict()}), stream)
        write_file(path, json.dumps(report, indent=2) + "\n")
    except OutputError as error:
        return f"(No report was written: {error})"
    return f"To load this batch again: d2lite replay {path}"


def _is_finite(model: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def read_report(path: Path) -> dict[str, Any]:
    """Read what `write_report` wrote.

    Args:
        path: of the .json file.

    Raises:
        MissingFileError: if it is not there.
        DataError: if it is not such a report.
    """
    try:
        report = read_json_file(path)
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read: {error.strerror}. A report is in the OUTPUT_DIR of its run "
            "as blow_up_ITERATION.json."
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not a report of a step: {error}.") from error
    missing = _NEEDED - report.keys() if isinstance(report, dict) else _NEEDED
    if missing:
        raise DataError(f"{path} is not a report of a step: it lacks {', '.join(sorted(missing))}.")
    return dict(report)
