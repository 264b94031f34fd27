"""Several detectors as one: each predicts an image in its own way, and their boxes are fused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2lite.data.images.image_io import read_image
from d2lite.engine import DefaultPredictor
from d2lite.layers import weighted_box_fusion
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError


class Ensemble(nn.Module):
    """Detectors of the same classes, with the interface of one `Detector` in tests.

    An image is resized and its channels are ordered for each model as its own config says.

    Args:
        members: at least two; the classes have the order of the first one.
        max_detections: of an image.

    Raises:
        ConfigError: if the models have other classes, or images of other channels.
    """

    predicts = frozenset({"instances"})

    def __init__(self, members: Sequence[DefaultPredictor], max_detections: int = 100) -> None:
        super().__init__()
        self._members = list(members)
        self.models = nn.ModuleList(member.model for member in members)
        self._max_detections = max_detections
        self.class_names: list[str] | None = getattr(members[0].model, "class_names", None)
        self._orders = [self._order_of(member) for member in members]
        formats = {member.image_format for member in members}
        if len(formats) > 1:
            raise ConfigError(
                f"The models of an ensemble take images of {' and of '.join(sorted(formats))}. "
                "Use models of the same channels (INPUT.FORMAT)."
            )

    def _order_of(self, member: DefaultPredictor) -> Tensor | None:
        """(C,) the class here of each class of a model; None where no names say it."""
        names = getattr(member.model, "class_names", None)
        if not names or not self.class_names or list(names) == list(self.class_names):
            return None
        if sorted(names) != sorted(self.class_names):
            raise ConfigError(
                f"Models of an ensemble have the same classes; {member.cfg.MODEL.WEIGHTS} has "
                f"{', '.join(names)}, and the first model {', '.join(self.class_names)}."
            )
        return torch.tensor([self.class_names.index(name) for name in names])

    def views_of(self, pixels: np.ndarray) -> list[dict[str, Any]]:
        """The input of each model.

        Args:
            pixels: see `DefaultPredictor.__call__`.
        """
        return [member.model_input(pixels) for member in self._members]

    @torch.no_grad()
    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detect.

        Args:
            batched_inputs: with `height` and `width`, the size of the results; and `views` as
                `views_of` gives them, or the `file_name` of an image.

        Returns:
            {"instances": detections} of each image.
        """
        views = []
        for item in batched_inputs:
            own = item.get("views")
            if own is None:
                own = self.views_of(read_image(item["file_name"], self._members[0].image_format))
            size = {name: item[name] for name in ("height", "width") if name in item}
            views.append([{**view, **size} for view in own])
        found: list[list[Instances]] = [[] for _ in views]
        for i, (model, order) in enumerate(zip(self.models, self._orders, strict=True)):
            for place, output in zip(found, model([own[i] for own in views]), strict=True):
                place.append(_instances(output, order))
        return [{"instances": fuse(parts)[: self._max_detections]} for parts in found]


def _instances(output: dict[str, Any], order: Tensor | None) -> Instances:
    if "instances" not in output:
        raise ConfigError(f"An ensemble fuses boxes; one of its models gives {sorted(output)}.")
    found: Instances = output["instances"]
    if found.has("pred_boxes") and isinstance(found.pred_boxes, RotatedBoxes):
        raise ConfigError("An ensemble fuses upright boxes; one of its models gives rotated ones.")
    if order is not None:
        found.pred_classes = order.to(found.pred_classes.device)[found.pred_classes]
    return found


def fuse(parts: Sequence[Instances]) -> Instances:
    """Fuse what several models found in one image, see `weighted_box_fusion`.

    Masks and keypoints are those of the best box that a fused one is made of, if all models have
    them.

    Args:
        parts: of each model, in pixels of the same size.

    Returns:
        The detections, best first.
    """
    names = set.intersection(*(set(part.get_fields()) for part in parts))
    whole = Instances.cat(
        [
            Instances(part.image_size, **{name: part.get(name) for name in sorted(names)})
            for part in parts
        ]
    )
    fused = weighted_box_fusion(
        whole.pred_boxes.tensor, whole.scores, whole.pred_classes, num_models=len(parts)
    )
    result = whole[fused.best]
    result.pred_boxes, result.scores = Boxes(fused.boxes), fused.scores
    return result


class EnsemblePredictor:
    """An `Ensemble` where a `DefaultPredictor` is expected.

    Args:
        members: see `Ensemble`; config and metadata are those of the first.
    """

    def __init__(self, members: Sequence[DefaultPredictor]) -> None:
        first = members[0]
        self.cfg, self.metadata = first.cfg, first.metadata
        self.image_format = first.image_format
        self.model = Ensemble(members, self.cfg.TEST.DETECTIONS_PER_IMAGE)

    def model_input(self, original_image: np.ndarray) -> dict[str, Any]:
        """As `DefaultPredictor.model_input`; with the inputs of all models."""
        views = self.model.views_of(original_image)
        return {**views[0], "views": views}
