"""Models as TorchScript: the layers are traced in the fixed-size form, and the rest is compiled.

The compiled part takes and gives what the model does, so that code around it can be compiled too.
A trace of the fixed-size form holds for images, batches and numbers of detections of any size.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partialmethod
from typing import Any, Optional

import torch
from torch import Tensor, nn

from d2lite.modeling.meta_arch.dense_detector import DenseDetector
from d2lite.modeling.meta_arch.panoptic_fpn import PanopticFPN
from d2lite.modeling.meta_arch.rcnn import GeneralizedRCNN
from d2lite.modeling.proposal_generator.rpn import RPN
from d2lite.modeling.roi_heads.branch_head import BranchHead
from d2lite.modeling.roi_heads.standard import StandardROIHeads
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.errors import ExportError

from .preprocessing import padding_of
from .scripted_branch import ScriptedBranch
from .traced_form import Padded, require

__all__ = ["check_is_compilable", "compilable", "prepared"]

_BOX_FIELDS = ("pred_boxes", "scores", "pred_classes")
_PREPARE = "__prepare_scriptable__"  # torch calls it before it compiles a module
_BRANCHES = {"masks": "pred_masks", "keypoints": "pred_keypoints"}


def compilable(model: nn.Module, fields: Mapping[str, type | str]) -> nn.Module:
    """A copy of a module in which the detectors, RPNs and ROI heads can be compiled.

    Args:
        model: one of them, or a module that holds some, in evaluation mode.
        fields: of `Instances`, names and types.

    Raises:
        ExportError: for a detector that has no such form, or where a field is missing.
    """
    if _is_compilable(model):
        return _ScriptedDetector(model, fields)
    if type(model) is RPN:
        return _ScriptedRPN(model, fields)
    if isinstance(model, StandardROIHeads):
        return _ScriptedROIHeads(model, fields)
    if isinstance(model, BranchHead):
        return ScriptedBranch(model, fields)
    if hasattr(model, "predict_padded"):
        check_is_compilable(model)
    copied = copy.copy(model)
    copied._modules = {
        name: None if child is None else compilable(child, fields)
        for name, child in model._modules.items()
    }
    return copied


@contextmanager
def prepared(fields: Mapping[str, type | str]) -> Iterator[None]:
    """Inside, `torch.jit.script` compiles `compilable` of a detector or a part of one.

    Args:
        fields: see `compilable`.
    """
    kinds: Any = (GeneralizedRCNN, DenseDetector, RPN, StandardROIHeads, BranchHead)
    before = {kind: vars(kind).get(_PREPARE) for kind in kinds}
    for kind in kinds:
        setattr(kind, _PREPARE, partialmethod(compilable, fields))
    try:
        yield
    finally:
        for kind, method in before.items():
            if method is None:
                delattr(kind, _PREPARE)
            else:
                setattr(kind, _PREPARE, method)


def check_is_compilable(model: nn.Module) -> None:
    """Refuse a detector that TorchScript cannot be made of.

    Raises:
        ExportError: for one.
    """
    if not _is_compilable(model):
        raise ExportError(
            f"{type(model).__name__} cannot be TorchScript; Faster, Mask, Cascade and Keypoint "
            "R-CNN, RetinaNet, FCOS, RPN and StandardROIHeads can. Use `d2lite export RUN --to "
            "torch`, which writes torch.export's .pt2."
        )


def _is_compilable(model: nn.Module) -> bool:
    detectors = (GeneralizedRCNN, DenseDetector)
    return isinstance(model, detectors) and not isinstance(model, PanopticFPN)


class _Scripted(nn.Module):
    """What the compiled parts share: rows of `PaddedBoxes` -> `Instances`."""

    __constants__: tuple[str, ...] = ("has_masks", "has_keypoints")

    def __init__(
        self, core: Padded, inputs: tuple[Any, ...], fields: Mapping[str, type | str]
    ) -> None:
        super().__init__()
        self.core = core.traced(*inputs)
        self.has_masks, self.has_keypoints = (name in core.names for name in _BRANCHES)
        given = [field for name, field in _BRANCHES.items() if name in core.names]
        require(fields, [*_BOX_FIELDS, *given])

    def detections(
        self, found: list[Tensor], image_sizes: list[tuple[int, int]]
    ) -> list[Instances]:
        """The valid rows of each image."""
        results: list[Instances] = []
        for i, size in enumerate(image_sizes):
            valid = found[3][i]
            one = Instances(size)
            one.pred_boxes = Boxes(found[0][i][valid])
            one.scores = found[1][i][valid]
            one.pred_classes = found[2][i][valid]
            if self.has_masks:
                one.pred_masks = found[4][i][valid]
            if self.has_keypoints:
                one.pred_keypoints = found[-1][i][valid]
            results.append(one)
        return results


class _ScriptedDetector(_Scripted):
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: Any, fields: Mapping[str, type | str]) -> None:
        multiple, square = padding_of(model)
        height, width = (
            (square, square) if square else (-(-s // multiple) * multiple for s in (64, 96))
        )
        images = model.pixel_mean.new_zeros(2, len(model.pixel_mean), height, width)
        sizes = torch.tensor([[height, width], [height - 1, width - 2]], device=images.device)
        super().__init__(Padded(model, model.predict_padded), (images, sizes), fields)
        self.multiple, self.square = multiple, square
        self.register_buffer("pixel_mean", model.pixel_mean.clone())
        self.register_buffer("pixel_std", model.pixel_std.clone())

    def forward(self, batched_inputs: list[dict[str, Tensor]]) -> list[Instances]:
        """Detections of each image, in pixels of its `image`."""
        images: list[Tensor] = []
        for item in batched_inputs:
            image = item["image"].to(self.pixel_mean.device)
            images.append((image - self.pixel_mean) / self.pixel_std)
        constraints = {"square_size": self.square, "size_divisibility": self.multiple}
        batch = ImageList.from_tensors(images, 0, 0.0, constraints)
        sizes = _as_tensor(batch.image_sizes).to(batch.tensor.device)
        return self.detections(list(self.core(batch.tensor, sizes)), batch.image_sizes)

    @torch.jit.export
    def inference(
        self,
        batched_inputs: list[dict[str, Tensor]],
        detected_instances: Optional[list[Instances]] = None,  # noqa: UP045 - TorchScript's form
        do_postprocess: bool = True,
    ) -> list[Instances]:
        """As `forward`."""
        assert detected_instances is None, "In TorchScript boxes cannot be given."
        assert not do_postprocess, (
            "In TorchScript call inference(inputs, do_postprocess=False), and then "
            "detector_postprocess."
        )
        return self.forward(batched_inputs)


class _ScriptedRPN(nn.Module):
    __constants__ = ("in_features",)

    def __init__(self, model: Any, fields: Mapping[str, type | str]) -> None:
        super().__init__()
        require(fields, ["proposal_boxes", "objectness_logits"])
        self.in_features = list(model.in_features)
        first = next(weight for weight in model.rpn_head.parameters() if weight.dim() == 4)
        maps = _maps(self.in_features, model.anchor_generator.strides, first, first.shape[1])
        sizes = torch.tensor([[60, 90], [64, 96]], device=first.device)
        self.core = Padded(model, model.predict_padded).traced(maps, sizes)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: Optional[list[Instances]] = None,  # noqa: UP045 - TorchScript's form
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `RPN.forward`, in evaluation mode."""
        maps: dict[str, Tensor] = {}
        for name in self.in_features:
            maps[name] = features[name]
        sizes = _as_tensor(images.image_sizes).to(maps[self.in_features[0]].device)
        boxes, valid, logits = self.core(maps, sizes)
        results: list[Instances] = []
        for i, size in enumerate(images.image_sizes):
            one = Instances(size)
            one.proposal_boxes = Boxes(boxes[i][valid[i]])
            one.objectness_logits = logits[i][valid[i]]
            results.append(one)
        losses: dict[str, Tensor] = {}
        return results, losses


class _ScriptedROIHeads(_Scripted):
    __constants__ = (*_Scripted.__constants__, "names")

    def __init__(self, model: Any, fields: Mapping[str, type | str]) -> None:
        require(fields, ["proposal_boxes"])
        heads = model.box_head.parameters()
        first = next(weight for weight in heads if weight.dim() > 1)
        pooler = model.box_pooler
        cells = 1 if first.dim() == 4 else pooler.output_size[0] * pooler.output_size[1]
        names = list(model.box_in_features)
        strides = [round(1 / level.spatial_scale) for level in pooler.level_poolers]
        maps = _maps(names, strides, first, first.shape[1] // cells)
        boxes = torch.tensor([[[4.0, 4, 40, 50], [8, 2, 90, 60]]], device=first.device)
        valid = torch.ones(2, 2, dtype=torch.bool, device=first.device)
        sizes = torch.tensor([[60, 90], [64, 96]], device=first.device)
        inputs = (maps, boxes.expand(2, -1, -1).contiguous(), valid, sizes)
        super().__init__(Padded(model, model.predict_padded), inputs, fields)
        self.names = names

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: Optional[list[Instances]] = None,  # noqa: UP045 - TorchScript's form
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `StandardROIHeads.forward`, in evaluation mode."""
        maps: dict[str, Tensor] = {}
        for name in self.names:
            maps[name] = features[name]
        rows = [proposals[i].proposal_boxes.tensor for i in range(len(proposals))]
        ones = [torch.ones_like(x[:, 0], dtype=torch.bool) for x in rows]
        boxes = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        valid = nn.utils.rnn.pad_sequence(ones, batch_first=True)
        image_sizes = [one.image_size for one in proposals]
        sizes = _as_tensor(image_sizes).to(boxes.device)
        losses: dict[str, Tensor] = {}
        return self.detections(list(self.core(maps, boxes, valid, sizes)), image_sizes), losses


def _as_tensor(image_sizes: list[tuple[int, int]]) -> Tensor:
    """(N, 2) int64; TorchScript cannot make a tensor of tuples."""
    return torch.tensor([[size[0], size[1]] for size in image_sizes])


def _maps(names: list[str], strides: list[int], like: Tensor, channels: int) -> dict[str, Tensor]:
    """Maps of two images of 64 x 96 pixels."""
    sides = [(-(-64 // int(stride)), -(-96 // int(stride))) for stride in strides]
    return {
        name: like.new_zeros((2, channels, *side)) for name, side in zip(names, sides, strict=True)
    }
