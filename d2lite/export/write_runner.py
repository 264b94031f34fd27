"""A folder that stands alone: the exported file, a script that runs it, its classes, a README."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2lite.utils.file_io import write_file

__all__ = ["write_runner"]

_SCRIPT = Path(__file__).with_name("run_exported.py")
_PACKAGES = {".onnx": "onnxruntime", ".xml": "openvino"}
_README = """\
# {architecture}

    pip install numpy pillow {package}
    python run.py photo.jpg --threshold 0.5

`run.py` prints the objects of each image as JSON: class, score, box (x0, y0, x1, y1 in pixels) and,
where the model has them, mask (COCO's run lengths). `{file}` is the model, written by
d2lite {version}; `model.json` says what it takes and gives, and `classes.txt` has its classes.
"""


def write_runner(path: Path, facts: Mapping[str, Any]) -> None:
    """Write `run.py`, `model.json`, `classes.txt` and `README.md` beside an exported file.

    Args:
        path: of the file, .onnx or .xml.
        facts: what it says about itself.
    """
    known = {**facts, "file": path.name}
    texts = {
        "run.py": _SCRIPT.read_text(encoding="utf-8"),
        "model.json": json.dumps(known, indent=1),
        "classes.txt": "".join(f"{name}\n" for name in facts["classes"]),
        "README.md": _README.format(package=_PACKAGES[path.suffix], **known),
    }
    for name, text in texts.items():
        write_file(path.with_name(name), text)
