"""Small facts read out of a checkpoint file whose weights stay on the disk."""

import pickle
from pathlib import Path
from typing import Any

import torch

from d2lite.checkpoint.reading import refuse_zip_bomb
from d2lite.utils.errors import WeightsError
from d2lite.utils.file_io import PathManager

__all__ = ["class_names_of_weights", "seed_of_last_checkpoint"]


def class_names_of_weights(path: str) -> list[str] | None:
    """Read the class names that a checkpoint was trained with.

    Args:
        path: a local file or an address; "" for none.

    Returns:
        The names, or None if the file is not one of ours, not there, or has none. Whoever loads
        the weights will complain about a bad file, with the better message.
    """
    extra = _peek(path).get("d2lite")
    names = extra.get("class_names") if isinstance(extra, dict) else None
    return list(names) if names else None


def seed_of_last_checkpoint(output_dir: str) -> int | None:
    """Read the seed that the last checkpoint of a folder was trained with.

    Args:
        output_dir: the folder of a run.

    Returns:
        The seed, or None if there is no checkpoint or it does not hold one.
    """
    mark = Path(output_dir) / "last_checkpoint"
    if not mark.is_file():
        return None
    trainer = _peek(str(Path(output_dir) / mark.read_text().strip())).get("trainer")
    seed = trainer.get("seed") if isinstance(trainer, dict) else None
    return None if seed is None else int(seed)


def _peek(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        file = PathManager.get_local_path(path)
        refuse_zip_bomb(Path(file))
        # Mapped, not read: the weights stay on the disk.
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, WeightsError, pickle.UnpicklingError):
        return {}
    return content if isinstance(content, dict) else {}
