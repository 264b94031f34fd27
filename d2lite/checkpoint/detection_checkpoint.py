"""DetectionCheckpointer: a Checkpointer that also reads the weights other libraries publish."""

from collections.abc import Mapping
from typing import Any

import torch

from .c2_model_loading import align_and_update_state_dicts
from .checkpointer import Checkpointer
from .foreign import (
    WHOLE_MODELS,
    convert_c2_detectron_names,
    convert_transformers_vit,
    is_torchvision_detector,
    is_torchvision_resnet,
    is_transformers_vit,
    rename_first_mask2former,
    rename_torchvision_resnet,
)
from .matching import LoadReport, without_wrapper
from .reading import stored_class_names
from .remap_classifier import remap_classifier

__all__ = ["DetectionCheckpointer", "translate_names"]


class DetectionCheckpointer(Checkpointer):
    """Loads detectron2's .pth and .pkl, Caffe2 Detectron's .pkl, torchvision's and timm's weights.

    Where the file is of another library (`matching_heuristics` inside, Caffe2 blobs, torchvision
    names, or names none of which is the model's), its names are translated, and each parameter
    takes the weight whose name is the longest ending of its own:
    `backbone.bottom_up.res2.0.conv1.weight` takes `res2.0.conv1.weight`. A path that ends in
    `?matching_heuristics=True` asks for the latter. A file of another kind of model gives its
    backbone, whether a feature pyramid is around it or not.
    """

    def _read(self, path: str) -> dict[str, Any]:
        plain, mark, value = path.rpartition("?matching_heuristics=")
        if not mark:
            return super()._read(path)
        return {**super()._read(plain), "matching_heuristics": value == "True"}

    def _load_model(self, checkpoint: dict[str, Any]) -> LoadReport | None:
        own = self.model.state_dict()
        self._convert_ndarray_to_tensor(checkpoint["model"])
        weights, by_ending = checkpoint["model"], False
        # A model of a user may have another library's names: torchvision's, where it wraps one.
        is_own = without_wrapper(weights).keys() <= own.keys()
        if not is_own or checkpoint.get("matching_heuristics"):
            if is_torchvision_detector(weights) or is_torchvision_resnet(weights):
                self._warn_of_other_inputs()
            weights, by_ending = translate_names(checkpoint, own)
        if by_ending:
            weights = align_and_update_state_dicts(own, weights, c2_conversion=False)
        kept: list[str] | None = None
        ours = getattr(self.model, "class_names", None)
        theirs = stored_class_names(checkpoint) or []
        if self.keep_matching_classes and ours and theirs and list(ours) != theirs:
            weights = without_wrapper(weights)
            weights, kept = remap_classifier(weights, own, theirs, list(ours))
        elif self.keep_matching_classes and ours and not theirs:
            self.logger.warning(
                "MODEL.KEEP_MATCHING_CLASSES has no effect: %s does not name its classes. Write "
                "them into it: `d2lite checkpoint FILE NEW_FILE --classes DATASET`",
                self._loading,
            )
        report = super()._load_model({**checkpoint, "model": weights})
        if report is not None:
            report.kept_classes = kept
            report.num_classes = len(ours or ())
        checkpoint.pop("matching_heuristics", None)
        return report

    def _warn_of_other_inputs(self) -> None:
        """Say which options differ from those that torchvision trained its weights with."""
        options = []
        if getattr(self.model, "input_format", None) == "BGR":
            options.append("INPUT.FORMAT RGB")
        std = getattr(self.model, "pixel_std", None)
        if isinstance(std, torch.Tensor) and bool((std == 1).all()):
            options.append("MODEL.PIXEL_MEAN [123.675,116.28,103.53]")
            options.append("MODEL.PIXEL_STD [58.395,57.12,57.375]")
        convolutions = (getattr(module, "conv1", None) for module in self.model.modules())
        if any(
            isinstance(conv, torch.nn.Conv2d)
            and conv.kernel_size == (1, 1)
            and max(conv.stride) > 1
            for conv in convolutions
        ):
            options.append("MODEL.RESNETS.STRIDE_IN_1X1 False")
        if options:
            self.logger.warning(
                "The file holds weights of torchvision, which give poor results with this config. "
                "Set %s.",
                ", ".join(options),
            )


def translate_names(
    content: Mapping[str, Any], own: Mapping[str, torch.Tensor] | None = None
) -> tuple[dict[str, torch.Tensor], bool]:
    """Give the weights of a file our names, as far as they follow from the file alone.

    Args:
        content: what `read_checkpoint` returned.
        own: the names of the model that they are for, if there is one.

    Returns:
        The weights, and whether the names are only the ends of the model's.
    """
    weights: dict[str, torch.Tensor] = content["model"]
    known = own or {}
    by_ending = bool(content.get("matching_heuristics", False))
    for model in WHOLE_MODELS:
        if model.is_in(weights):
            return model.convert(weights), False
    if is_transformers_vit(weights):
        return convert_transformers_vit(weights)
    weights = rename_first_mask2former(weights)
    # A backbone of torchvision itself, as `torchvision:resnet50`, has these names inside.
    is_theirs = any(f".{name}".endswith(".layer1.0.conv1.weight") for name in known)
    if is_torchvision_resnet(weights) and not is_theirs:
        return rename_torchvision_resnet(weights), True
    if content.get("__author__") == "Caffe2":
        weights, _ = convert_c2_detectron_names(weights)
    if own and not any(name in own for name in without_wrapper(weights)):
        moved = _with_or_without_pyramid(without_wrapper(weights), own)
        if moved is not None:
            return moved, False
        # Not one name fits: a bare backbone, for instance of timm.
        by_ending = True
    return weights, by_ending


def _with_or_without_pyramid(
    weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor] | None:
    """The weights, those of the backbone under the model's names; None if these do not fit either.

    A model with a feature pyramid has one more word in the names of its backbone: `bottom_up`, or
    `net` under the simple pyramid of plain transformers.
    """
    plain = "backbone."
    for inner in ("backbone.bottom_up.", "backbone.net."):
        for theirs, ours in ((inner, plain), (plain, inner)):
            moved = {
                ours + name.removeprefix(theirs) if name.startswith(theirs) else name: weight
                for name, weight in weights.items()
            }
            if moved.keys() & own.keys():
                return moved
    return None
