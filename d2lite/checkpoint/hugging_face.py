"""Weights of Hugging Face: folders of `config.json` and `model.safetensors`, by path or name.

`hf://ORG/NAME` is a folder in the cache of huggingface_hub; it is fetched where it is not there.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2lite.utils.errors import ConfigError, MissingFileError, MissingPackageError, WeightsError
from d2lite.utils.file_io import read_json_file

PREFIX = "hf://"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
# The name that DETR's published weights give to numbers of COCO without a class.
UNUSED = "N/A"

# Kind of block and number of blocks of each stage -> layers of a ResNet.
RESNET_DEPTHS = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
}


def hugging_face_folder(path: str | None) -> Path | None:
    """The folder that weights of Hugging Face are in.

    Args:
        path: as in MODEL.WEIGHTS: hf://ORG/NAME, a folder, or a file; nothing where it is empty.

    Returns:
        A folder with a `config.json`; None if it is something else.

    Raises:
        MissingFileError: if a name is neither cached nor can be fetched.
        MissingPackageError: for a name without the package huggingface_hub.
    """
    if not path:
        return None
    if path.startswith(PREFIX):
        return _cached(path.removeprefix(PREFIX))
    if "://" in path:
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
        content = read_json_file(folder / CONFIG)
    except (OSError, ValueError) as err:
        raise WeightsError(f"{folder / CONFIG} cannot be read: {err}") from err
    return content if isinstance(content, dict) else None


def hugging_face_classes(path: str) -> list[str] | None:
    """The class names in `config.json`, in order; None where there are none but LABEL_0 and so on.

    Where the name of unused numbers is repeated, as DETR's "N/A", each after the first one gets its
    number: "N/A 12".

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
    names = [
        f"{name} {number}" if name == UNUSED and number != names.index(name) else name
        for number, name in enumerate(names)
    ]
    return names if has_names and len(set(names)) == len(names) else None


def follow_hugging_face(
    cfg: Any,
    model_types: Sequence[str],
    options_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    classes_key: str,
) -> None:
    """Derive keys of a configuration from the weights that it starts from, where these say them.

    Values of the command line and of code stay.

    Args:
        cfg: a `CfgNode`; may be frozen. MODEL.WEIGHTS is read.
        model_types: the types in `config.json` that the model can follow.
        options_of: from the content of `config.json` to keys and values.
        classes_key: the key of the number of classes, which follows while nobody has set it.
    """
    content = hugging_face_config(cfg.MODEL.WEIGHTS)
    if content is None or content.get("model_type") not in model_types:
        return
    why = f"config.json of {cfg.MODEL.WEIGHTS}"
    for key, value in options_of(content).items():
        is_own = cfg.has_key(key) and cfg.origin(key).startswith(("command line", "code"))
        if not is_own:
            cfg.derive(key, value, why)
    num_classes = len(content.get("id2label") or {})
    if num_classes and cfg.is_default(classes_key):
        cfg.derive(classes_key, num_classes, why)


def refuse_other_forms(content: Mapping[str, Any], fixed: Mapping[str, Sequence[Any]]) -> None:
    """Check that a `config.json` describes a form that our model has.

    Args:
        content: of `config.json`.
        fixed: name -> the values that are that form, the first being its name.

    Raises:
        ConfigError: with all names that have another value.
    """
    odd = [name for name, known in fixed.items() if content.get(name, known[0]) not in known]
    if odd:
        found = ", ".join(f"{name}={content[name]!r}" for name in odd)
        raise ConfigError(
            f"config.json says {found}, which this model does not have. It has "
            + ", ".join(f"{name}={fixed[name][0]!r}" for name in odd)
            + "."
        )


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
