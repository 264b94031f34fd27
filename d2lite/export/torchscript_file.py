"""model.ts: a detector as detectron2's `tools/deploy/export_model.py` writes it.

It takes an image that is resized already, and gives boxes and masks in pixels of that image.
"""

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.data import DatasetMapper
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.data.transforms import AugInput, AugmentationList
from d2lite.modeling.meta_arch.rcnn import GeneralizedRCNN
from d2lite.modeling.postprocessing import detector_postprocess
from d2lite.structures import Boxes, Instances
from d2lite.utils.file_io import write_file

from .flatten import TracingAdapter
from .scripted_parts import check_is_compilable
from .torchscript import dump_torchscript_IR, scripting_with_instances
from .traced_form import quiet_torchscript

__all__ = ["TorchScriptModel", "export_torchscript"]

logger = logging.getLogger(__name__)

Run = Callable[[Tensor], Instances]

_TENSORS = ("scores", "pred_classes", "pred_masks", "pred_keypoints")
_FIELDS = {"pred_boxes": Boxes, **dict.fromkeys(_TENSORS, Tensor)}


class TorchScriptModel(nn.Module):
    """Takes the batches that a `Detector` takes in evaluation mode, image by image.

    Args:
        run: (C, H, W) float image -> `Instances` in its pixels.
        cfg: how images are resized.
    """

    def __init__(self, run: Run, cfg: CfgNode) -> None:
        super().__init__()
        self._run = run
        self._resize = AugmentationList(build_augmentation(cfg, is_train=False))
        self.eval()

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """{"instances": detections} of each image, in pixels of `height` and `width`."""
        outputs = []
        for item in batched_inputs:
            size = item["image"].shape[1:]
            seen = AugInput(np.ascontiguousarray(item["image"].permute(1, 2, 0).numpy()))
            self._resize(seen)
            pixels = torch.from_numpy(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))
            wanted = (item.get("height", size[0]), item.get("width", size[1]))
            outputs.append({"instances": detector_postprocess(self._run(pixels.float()), *wanted)})
        return outputs


def export_torchscript(
    cfg: CfgNode, model: nn.Module, path: Path, method: str, sample_image: str
) -> TorchScriptModel:
    """Write the file, and its code and graphs as text beside it.

    Args:
        cfg: of the model.
        model: in evaluation mode, on the CPU.
        path: of the file.
        method: "tracing" for a function of (C, H, W) float32 that gives a tuple of tensors, or
            "scripting" for one of ({"image": (C, H, W) float32},) that gives [{field: tensor}].
        sample_image: an image to trace with.

    Raises:
        ExportError: for a model that TorchScript cannot be made of.
    """
    check_is_compilable(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    logger.info(f"Exporting to {path}; torch no longer develops TorchScript, see --to torch")
    with quiet_torchscript():
        made, run = (_scripted if method == "scripting" else _traced)(cfg, model, sample_image)
        content = io.BytesIO()
        torch.jit.save(made, content)  # which aborts the process where a disk is full
    write_file(path, content.getbuffer())
    dump_torchscript_IR(made, path.parent)
    return TorchScriptModel(run, cfg)


def _traced(cfg: CfgNode, model: nn.Module, sample_image: str) -> tuple[Any, Run]:
    image = DatasetMapper(cfg, False)({"file_name": sample_image})["image"].float()
    adapter = TracingAdapter(model, [{"image": image}], _without_pasting)
    made = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)

    def run(image: Tensor) -> Instances:
        assert adapter.outputs_schema is not None
        (found,) = adapter.outputs_schema(made(image))
        instances: Instances = found["instances"]
        return instances

    return made, run


def _without_pasting(model: nn.Module, batch: Any) -> Any:
    if isinstance(model, GeneralizedRCNN):
        return [{"instances": model.inference(batch, do_postprocess=False)[0]}]
    return model(batch)


def _scripted(cfg: CfgNode, model: nn.Module, sample_image: str) -> tuple[Any, Run]:
    made = scripting_with_instances(_OneImage(model).eval(), _FIELDS)

    def run(image: Tensor) -> Instances:
        (fields,) = made(({"image": image},))
        fields["pred_boxes"] = Boxes(fields["pred_boxes"])
        return Instances((image.shape[1], image.shape[2]), **fields)

    return made, run


class _OneImage(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return [found.get_fields() for found in self.model([inputs[0]])]
