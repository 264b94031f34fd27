"""A detector's function as a file of torch.export (.pt2)."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .function import DetectorFunction
from .metadata import KEY
from .program import record_program

__all__ = ["export_torch"]


def export_torch(function: DetectorFunction, path: str | Path, facts: Mapping[str, Any]) -> None:
    """Write the file; `torch.export.load(path).module()` runs it, once torchvision is imported.

    Args:
        function: in evaluation mode, called before.
        path: of the file.
        facts: what the file says about itself, see `describe`.

    Raises:
        OSError: if it cannot be written.
    """
    program = record_program(function, int(facts["input"]["count"]))
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(facts)})
    # By Python: torch's own writer ends the process where the disk is full.
    Path(path).write_bytes(content.getbuffer())
