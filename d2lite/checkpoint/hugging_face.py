"""Weights of Hugging Face: folders of `config.json` and `model.safetensors`, by path or name.

`hf://ORG/NAME` is a folder in the cache of huggingface_hub; it is fetched where it is not there.
"""

import json
import os
from pathlib import Path
from typing import Any

from d2lite.utils.errors import MissingFileError, MissingPackageError, WeightsError

PREFIX = "hf://"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def hugging_face_folder(path: str) -> Path | None:
    """The folder that weights of Hugging Face are in.

    Args:
        path: as in MODEL.WEIGHTS: hf://ORG/NAME, a folder, or a file.

    Returns:
        A folder with a `config.json`; None if it is something else.

    Raises:
        MissingFileError: if a name is neither cached nor can be fetched.
        MissingPackageError: for a name without the package huggingface_hub.
    """
    if path.startswith(PREFIX):
        return _cached(path.removeprefix(PREFIX))
    if "://" in path or not path:
        return None
    local = Path(os.path.expanduser(path))
    folder = local if local.is_dir() else local.parent
    is_theirs = local.is_dir() or local.suffix == ".safetensors"
    return folder if is_theirs and (folder / CONFIG).is_file() else None


def hugging_face_config(path: str) -> dict[str, Any] | None:
    """What `config.json` says about weights; None where there is no such file.

    Args:
        path: see `hugging_face_folder`.

    Raises:
        WeightsError: if it is not JSON.
    """
    folder = hugging_face_folder(path)
    if folder is None:
        return None
    try:
        content = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise WeightsError(f"{folder / CONFIG} cannot be read: {err}") from err
    return content if isinstance(content, dict) else None


def hugging_face_classes(path: str) -> list[str] | None:
    """The class names in `config.json`, in order; None where there are none but LABEL_0 and so on.

    Args:
        path: see `hugging_face_folder`.
    """
    labels = (hugging_face_config(path) or {}).get("id2label")
    if not isinstance(labels, dict) or not labels:
        return None
    try:
        by_number = {int(number): str(name) for number, name in labels.items()}
    except ValueError:
        return None
    if sorted(by_number) != list(range(len(by_number))):
        return None
    names = [by_number[number] for number in range(len(by_number))]
    has_names = names != [f"LABEL_{number}" for number in range(len(names))]
    return names if has_names and len(set(names)) == len(names) else None


def _cached(name: str) -> Path:
    try:
        # Optional: it is needed for names alone.
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as err:
        raise MissingPackageError(
            f"{PREFIX}{name} needs the package huggingface_hub: pip install huggingface_hub"
        ) from err
    wanted: dict[str, Any] = {"repo_id": name, "allow_patterns": [CONFIG, WEIGHTS]}
    try:
        folder = Path(snapshot_download(**wanted, local_files_only=True))
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder
    except (LocalEntryNotFoundError, OSError, ValueError):
        # It is not in the cache.
        pass
    try:
        return Path(snapshot_download(**wanted))
    except Exception as err:  # whatever the network and the server make of it
        reason = str(err).strip().splitlines()
        raise MissingFileError(
            f"{PREFIX}{name} is not in the cache of huggingface_hub and cannot be fetched "
            f"({reason[0] if reason else type(err).__name__}). Check the name and the network, or "
            f"set MODEL.WEIGHTS to a folder with {CONFIG} and {WEIGHTS}."
        ) from err
