"""The environment of the process: which device to compute on, and its random generators."""

import importlib
import importlib.util
import logging
import os
import random
import secrets
import sys
from typing import Any

import numpy as np
import torch

from .errors import DeviceError, MissingFileError

__all__ = [
    "TORCH_VERSION",
    "resolve_device",
    "seed_all_rng",
    "setup_custom_environment",
    "setup_environment",
]

_set_up: set[str] = set()

TORCH_VERSION = tuple(int(number) for number in torch.__version__.split(".")[:2])
"""Major and minor version of torch."""


def seed_all_rng(seed: int | None = None) -> int:
    """Seed the global generators of `random`, numpy and torch (all devices).

    Args:
        seed: any integer >= 0; numpy gets it modulo 2**32. None draws one from the system.

    Returns:
        The seed that was used, to be logged.
    """
    if seed is None:
        seed = secrets.randbits(31)
        logging.getLogger(__name__).info("Drew the random seed %d", seed)
    if seed < 0:
        raise ValueError(f"A seed must be >= 0, found {seed}; use None to have one drawn.")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return seed


def resolve_device(requested: str, *, was_set: bool) -> torch.device:
    """The device to compute on.

    Args:
        requested: a name of torch: "cuda", "cuda:1", "mps", "cpu", ...
        was_set: whether a person asked for it. Where it is only the default and there is no CUDA,
            Apple MPS or the CPU are used.

    Raises:
        DeviceError: if it was asked for and this machine lacks it, or if torch knows no such name.
    """
    try:
        device = torch.device(requested)
    except RuntimeError as err:
        raise DeviceError(
            f"MODEL.DEVICE {requested!r} is not a device that torch knows; "
            "use cuda, cuda:N, mps or cpu."
        ) from err
    lack = _what_lacks(device)
    if not lack:
        return device
    if was_set:
        raise DeviceError(
            f"MODEL.DEVICE {requested!r} was asked for, but {lack}. {_usable_devices()}"
        )
    stand_in = torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    logging.getLogger(__name__).info(
        "%s: computing on %s (set MODEL.DEVICE to choose)", lack, stand_in
    )
    return stand_in


def _what_lacks(device: torch.device) -> str:
    """Why `device` cannot be used here, or an empty text if it can."""
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no CUDA device here"
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            return f"there are {count} CUDA devices, numbered from 0"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "Apple MPS is not available here"
    return ""


def _usable_devices() -> str:
    usable = ["cpu"]
    if torch.backends.mps.is_available():
        usable.insert(0, "mps")
    if torch.cuda.is_available():
        usable.insert(0, "cuda")
    return f"Use one of: {', '.join(usable)} (MODEL.DEVICE cpu at the end of the command)."


def setup_environment() -> None:
    """Run the code that $DETECTRON2_ENV_MODULE names, once: a Python file, or a module.

    Nothing calls it by itself. The module has a function `setup_environment()`.
    """
    custom = os.environ.get("DETECTRON2_ENV_MODULE")
    if custom and custom not in _set_up:
        _set_up.add(custom)
        setup_custom_environment(custom)


def setup_custom_environment(custom_module: str) -> None:
    """Import a module or a Python file and call its `setup_environment()`.

    Args:
        custom_module: "folder/my_environment.py" or "my_package.my_environment".
    """
    if custom_module.endswith(".py"):
        module = _import_file("d2lite.utils.env.custom_module", custom_module)
    else:
        module = importlib.import_module(custom_module)
    module.setup_environment()


def _import_file(
    module_name: str, file_path: str | os.PathLike[str], make_importable: bool = False
) -> Any:
    """Run a Python file as a module.

    Args:
        module_name: the name that it gets.
        file_path: the file.
        make_importable: let `import module_name` find it from now on.
    """
    spec = importlib.util.spec_from_file_location(module_name, file_path)
    if spec is None or spec.loader is None:
        raise MissingFileError(f"{os.fspath(file_path)} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if make_importable:
        sys.modules[module_name] = module
    return module
