"""Models as TorchScript, for programs that read it; `d2lite export` writes what replaces it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.utils.errors import ArgumentError
from d2lite.utils.file_io import write_file

from .scripted_parts import compilable
from .torchscript_patch import freeze_training_mode, patch_instances

__all__ = ["dump_torchscript_IR", "scripting_with_instances"]


def scripting_with_instances(
    model: nn.Module, fields: Mapping[str, type | str]
) -> torch.jit.ScriptModule:
    """Compile a module that takes or gives `Instances` to TorchScript.

    A GeneralizedRCNN, RetinaNet or FCOS, in the place of the module or inside of it, takes a list
    of dicts with `image` and gives one `Instances` an image, in pixels of that image; RPN and
    StandardROIHeads take and give what they do in evaluation mode.

    Args:
        model: in evaluation mode; it is not changed.
        fields: all fields of `Instances` that its code uses: names and types, `Tensor` or `Boxes`.

    Raises:
        ArgumentError: for a model in training mode.
        ExportError: for a model that cannot be scripted, or a missing field.
    """
    if model.training:
        raise ArgumentError("TorchScript is made of models in evaluation mode: call model.eval().")
    with patch_instances(fields):
        ready = compilable(model, fields)
        with freeze_training_mode(ready):
            scripted: torch.jit.ScriptModule = torch.jit.script(ready)
            return scripted


def dump_torchscript_IR(model: Any, dir: str | Path) -> None:  # noqa: N802 - the published name
    """Write the code and the graphs of a scripted or traced module as text.

    Args:
        model: of `torch.jit.script` or `torch.jit.trace`.
        dir: gets `model_ts_code.txt`, `model_ts_IR.txt`, `model_ts_IR_inlined.txt` and
            `model.txt`.
    """
    folder = Path(dir)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        (name, part) for name, part in model.named_modules() if "forward" in part._c._method_names()
    ]
    texts = {
        "model_ts_code.txt": "\n".join(f"# {name}\n{part.code}" for name, part in parts),
        "model_ts_IR.txt": "\n".join(f"# {name}\n{part.graph}" for name, part in parts),
        "model_ts_IR_inlined.txt": str(model.inlined_graph),
        "model.txt": str(model),
    }
    for name, text in texts.items():
        write_file(folder / name, text)
