"""Writing weights for others: .pth or .safetensors, with the hash in the name if wanted."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from d2lite.utils.errors import ConfigError, WeightsError
from d2lite.utils.file_io import write_file

from .reading import OWN_KEY
from .serializable import to_serializable

# Digits of the SHA-256 in a file name, as torchvision has them.
_HASH_DIGITS = 8


def write_weights(path: Path, content: Mapping[str, Any], *, hash_in_name: bool = False) -> Path:
    """Write a checkpoint in the format that its file name ends in.

    Args:
        path: ends in .pth, .pt or .safetensors.
        content: "model" with tensors, and other tensors and plain values. A .safetensors file
            takes weights and, as JSON, what is written in plain values.
        hash_in_name: write `NAME-0676ba61.pth` with the start of the file's SHA-256, which a
            download is checked against.

    Returns:
        The file that was written.

    Raises:
        ConfigError: for another ending.
        WeightsError: if safetensors is not installed.
        OutputError: if it cannot be written.
    """
    plain = to_serializable(content)
    if path.suffix == ".safetensors":
        data = _safetensors_bytes(plain)
    elif path.suffix in (".pth", ".pt"):
        stream = io.BytesIO()
        torch.save(plain, stream)
        data = stream.getvalue()
    else:
        raise ConfigError(
            f"{path} ends in {path.suffix!r}; weights are written as .pth, .pt or .safetensors."
        )
    if hash_in_name:
        digest = hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
        path = path.with_name(f"{path.stem}-{digest}{path.suffix}")
    write_file(path, data)
    return path


def _safetensors_bytes(content: Mapping[str, Any]) -> bytes:
    try:
        # Optional: it is one of several formats.
        from safetensors.torch import save
    except ImportError as err:
        raise WeightsError(
            "A .safetensors file can be written with the package safetensors only: "
            "pip install safetensors"
        ) from err
    rest = {key: value for key, value in content.items() if key != "model"}
    try:
        note = json.dumps(rest)
    except TypeError as err:
        raise ConfigError(
            f"A .safetensors file holds weights alone, but there is more here ({err}). Strip the "
            "training state (--strip), or write a .pth."
        ) from err
    # The format needs contiguous tensors that share no memory.
    weights = {
        name: value.detach().clone().contiguous() for name, value in content["model"].items()
    }
    data: bytes = save(weights, metadata={OWN_KEY: note})
    return data
