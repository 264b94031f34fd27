"""Files of weights of any origin, read into one form: {"model": name -> tensor, ...}."""

import json
import os
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2lite.utils.errors import MissingFileError, WeightsError
from d2lite.utils.file_heads import hint_on_file
from d2lite.utils.file_io import PathManager
from d2lite.utils.pickle_limits import DamagedPickle, RefusedPickle
from d2lite.utils.safe_pickle import read_pickle, without_stand_ins

from .hugging_face import WEIGHTS, hugging_face_classes, hugging_face_folder
from .torch_scan import (
    NUMPY_FOR_TORCH,
    READ_ERRORS,
    damaged,
    refuse_damaged_archive,
    refuse_harmful_file,
)

# Entry of our own files beside the weights; in a .safetensors file, of its metadata, as JSON.
OWN_KEY = "d2lite"
# Other trainers' names for the entry that holds the weights.
_MODEL_KEYS = ("model", "state_dict", "model_state", "model_state_dict")


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a file of weights; nothing in it is ever executed.

    Args:
        path: .pth or .pt (written by torch: whole checkpoints, or a bare state dict as torchvision
            publishes), .pkl (numpy arrays) or .safetensors; local, http(s), detectron2:// or
            catalog://.

    Returns:
        A dict whose "model" is a dict of tensors on the CPU.

    Raises:
        MissingFileError: if there is no such file.
        WeightsError: if it cannot be read or holds no weights.
    """
    local = local_weights_file(path)
    if other := hint_on_file(local):
        raise WeightsError(f"{path} holds no weights.{other}")
    is_pickle = local.suffix == ".pkl"
    if local.suffix == ".safetensors":
        return _read_safetensors(local)
    content = _read_pickle(local) if is_pickle else _read_torch(local)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds {type(content).__name__}, expected a dict of weights.")
    found = _with_model(dict(content), is_pickle=is_pickle)
    weights = found["model"]
    strays = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if not weights or strays:
        what = f"{strays[0]!r} is not a tensor" if strays else "no weights"
        raise WeightsError(f"{path}: {what}; expected a dict from parameter names to tensors.")
    return found


def stored_class_names(content: Mapping[str, Any]) -> list[str] | None:
    """The class names that a checkpoint carries; None if it has none that can be read.

    Args:
        content: of the file, or the part of it beside the weights: of ours, or of MMDetection
            (`dataset_meta` of version 3, `CLASSES` of version 2).
    """
    own, meta = content.get("d2lite"), content.get("meta")
    names = own.get("class_names") if isinstance(own, Mapping) else None
    if names is None and isinstance(meta, Mapping):
        of_data = meta.get("dataset_meta")
        of_data = of_data if isinstance(of_data, Mapping) else {}
        names = of_data.get("classes") or of_data.get("CLASSES") or meta.get("CLASSES")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    return list(names) or None


def local_weights_file(path: str, path_manager: Any = PathManager) -> Path:
    """Find a file of weights on the disk, fetched first where it is an address.

    Args:
        path: as in MODEL.WEIGHTS.
        path_manager: finds the file of an address.

    Raises:
        MissingFileError: if there is no such file.
    """
    folder = hugging_face_folder(path)
    local = Path(os.path.expanduser(path))
    if folder is not None and not local.is_file():
        if not (folder / WEIGHTS).is_file():
            raise MissingFileError(f"{folder} has no {WEIGHTS}, which MODEL.WEIGHTS {path} needs.")
        return folder / WEIGHTS
    if "://" not in path:
        if local.is_file():
            return local
        found = "is a folder" if local.is_dir() else f"was not found (working folder {Path.cwd()})"
        raise MissingFileError(
            f"The weights file {path} {found}. Set MODEL.WEIGHTS to a .pth, .pkl or .safetensors "
            "file, a folder of Hugging Face's (config.json, model.safetensors), an address "
            "(https://..., detectron2://..., hf://ORG/NAME), or to '' to start from random "
            "weights."
        )
    try:
        return Path(path_manager.get_local_path(path))
    except OSError as err:
        raise MissingFileError(f"MODEL.WEIGHTS {path}: {err}") from err


def _read_pickle(path: Path) -> Any:
    try:
        return read_pickle(path)
    except RefusedPickle as err:
        raise WeightsError(
            f"{path} is refused: it holds {err}, and a pickle may run code. Only numpy arrays and "
            "plain containers are read; save the weights as a .pth of tensors instead."
        ) from err
    except DamagedPickle as err:
        raise damaged(path, err) from err


def _read_torch(path: Path) -> Any:
    refuse_harmful_file(path)
    try:
        with warnings.catch_warnings():
            # torch remarks on files of another pickle protocol; what matters is whether it reads.
            warnings.simplefilter("ignore", UserWarning)
            with torch.serialization.safe_globals(NUMPY_FOR_TORCH):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        raise WeightsError(f"{path} {_refusal(str(err))}") from err
    except READ_ERRORS as err:
        raise damaged(path, err) from err
    if isinstance(content, Mapping) and OWN_KEY in content:
        # Other programs may leave the checksums out.
        refuse_damaged_archive(path)
    return without_stand_ins(content)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        # Optional: it is one of several formats.
        from safetensors import SafetensorError, safe_open
    except ImportError as err:
        raise WeightsError(
            f"{path} can be read with the package safetensors only: pip install safetensors"
        ) from err
    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            weights = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            noted = (stream.metadata() or {}).get(OWN_KEY)
        content: dict[str, Any] = json.loads(noted) if noted else {}
    except (SafetensorError, OSError, ValueError) as err:
        raise damaged(path, err) from err
    if not weights:
        raise WeightsError(f"{path} holds no weights.")
    names = None if "d2lite" in content else hugging_face_classes(str(path))
    if names is not None:
        content["d2lite"] = {"class_names": names}
    return {**content, "model": weights}


def read_note(path: Path) -> dict[str, Any]:
    """What a .safetensors file of ours holds beside the weights, which are not read.

    Args:
        path: of the file.

    Returns:
        Plain values; empty where there are none, or the file or the package cannot be used.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return {}
    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            note = json.loads((stream.metadata() or {}).get(OWN_KEY, "{}"))
    except (SafetensorError, OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _refusal(text: str) -> str:
    """Why torch's reader of weights failed: a class that it refuses, or damage."""
    found = re.search(r"(?:GLOBAL|global:?|class) ([\w.]+\.[\w.]+)", text)
    if found is None:
        return (
            "is damaged or not a file of torch. Fetch it again, or check that it is the right one."
        )
    return (
        f"is refused: it holds {found[1]}, and a pickle may run code. Only tensors and plain "
        "values are read; save the weights alone, as a state dict."
    )


def _with_model(content: dict[str, Any], *, is_pickle: bool) -> dict[str, Any]:
    ema = content.get("ema")
    if isinstance(ema, Mapping) and isinstance(ema.get("module"), Mapping):
        # The averaged weights of RT-DETR's and D-FINE's own trainers.
        return {"model": tensors_of(ema["module"])}
    for key in _MODEL_KEYS:
        if isinstance(content.get(key), Mapping):
            weights = content.pop(key)
            return {**content, "model": tensors_of(weights)}
    if not is_pickle:
        return {"model": tensors_of(content)}
    # Caffe2 wrote bare dicts, or "blobs" and a config, with the solver's momentum among them.
    blobs = content.get("blobs", content)
    arrays = {
        name: value
        for name, value in blobs.items()
        if isinstance(value, np.ndarray) and not name.endswith("_momentum")
    }
    return {"model": tensors_of(arrays), "__author__": "Caffe2", "matching_heuristics": True}


def tensors_of(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Names and values, with tensors in the place of numpy's arrays and numbers."""
    converted: dict[str, Any] = OrderedDict()
    for name, value in weights.items():
        if isinstance(value, np.ndarray | np.generic):
            # A copy: torch needs arrays that can be written to and are in the machine's byte order.
            native = np.array(value, dtype=value.dtype.newbyteorder("="))
            value = torch.from_numpy(native)
        converted[name] = value
    metadata = getattr(weights, "_metadata", None)
    if metadata is not None:
        converted._metadata = metadata  # type: ignore[attr-defined]
    return converted
