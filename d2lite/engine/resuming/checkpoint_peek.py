"""Small facts read out of a checkpoint file whose weights stay on the disk."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from d2lite.checkpoint.folder import checkpoints_by_age, read_mark
from d2lite.checkpoint.hugging_face import hugging_face_classes
from d2lite.checkpoint.reading import local_weights_file, read_note, stored_class_names
from d2lite.checkpoint.torch_scan import refuse_harmful_file
from d2lite.utils.errors import WeightsError


def class_names_of_weights(path: str) -> list[str] | None:
    """Read the class names that a checkpoint was trained with.

    Args:
        path: a local file or an address; "" for none.

    Returns:
        The names, or None if the file is not one of ours, not there, or has none. Whoever loads
        the weights will complain about a bad file, with the better message.

    Raises:
        MissingFileError: if an address cannot be fetched.
    """
    return hugging_face_classes(path) or stored_class_names(_peek(path))


def facts_of_weights(path: str) -> dict[str, Any]:
    """What a checkpoint of ours states about itself beside the weights.

    Args:
        path: a local file (.pth, .pt or .safetensors) or an address.

    Returns:
        Plain values by name, such as `config` (YAML), `class_names` and `version`; none of them
        is checked. Empty where `class_names_of_weights` returns None.

    Raises:
        MissingFileError: if an address cannot be fetched.
    """
    facts = _peek(path).get("d2lite")
    return facts if isinstance(facts, dict) else {}


def seed_of_checkpoint(output_dir: str, resume: bool | str = True) -> int | None:
    """Read the seed that a checkpoint was trained with.

    Args:
        output_dir: the folder of a run, whose newest readable checkpoint is meant.
        resume: the path of a checkpoint that is meant instead.

    Returns:
        The seed, or None if there is no checkpoint or it does not hold one.
    """
    is_named = isinstance(resume, str)
    if not is_named and read_mark(output_dir) is None:
        return None
    for path in [resume] if is_named else checkpoints_by_age(output_dir):
        trainer = _peek(str(path)).get("trainer")
        seed = trainer.get("seed") if isinstance(trainer, dict) else None
        if isinstance(seed, int):
            return seed
    return None


def _peek(path: str) -> dict[str, Any]:
    if not path or ("://" not in path and not Path(os.path.expanduser(path)).is_file()):
        return {}
    # An address that cannot be reached is an error at once: trying again would take as long.
    file = local_weights_file(path)
    if file.suffix == ".safetensors":
        return read_note(file)
    try:
        refuse_harmful_file(file)
        # Mapped, not read: the weights stay on the disk.
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, WeightsError, pickle.UnpicklingError):
        return {}
    return content if isinstance(content, dict) else {}
