"""What an exported file says about itself: classes, input, outputs, thresholds, version, config."""

import json
from collections.abc import Mapping
from typing import Any

from d2lite import __version__
from d2lite.config import CfgNode
from d2lite.utils.errors import WeightsError

from .function import DetectorFunction
from .preprocessing import MOST_PIXELS

__all__ = ["KEY", "describe", "read_description"]

# Under this name each format keeps the text.
KEY = "d2lite"
_THRESHOLDS = ("SCORE_THRESH_TEST", "NMS_THRESH_TEST")


def describe(cfg: CfgNode, function: DetectorFunction, file_format: str) -> dict[str, Any]:
    """The facts of a file, as plain values.

    Args:
        cfg: of the model.
        function: after its first call.
        file_format: "onnx", "torch" or "openvino".
    """
    detector = function.detector
    resize = function.preprocessing.resize
    thresholds = {
        key: value
        for key, value in cfg.keys_and_values()
        if key.startswith("MODEL.") and key.endswith(_THRESHOLDS)
    }
    kept = cfg.clone()
    kept.defrost()
    # They belong to the machine of the export.
    kept.merge_from_list(["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", "./output"])
    return {
        "version": __version__,
        "format": file_format,
        "architecture": type(detector).__name__,
        "classes": list(detector.class_names or ()),
        "input": {
            "names": ["images", "sizes"],
            "channels": str(cfg.INPUT.FORMAT),
            "count": len(detector.pixel_mean),
            "resize": list(resize),
            "most_pixels_a_side": MOST_PIXELS,
        },
        # Padding changes what such a model sees, so a batch has images of one size.
        "one_size_a_batch": detector.predicts_sizes_apart and resize.kind != "shape",
        "outputs": list(function.output_names),
        "masks": "image" if function.paste_masks else "box",
        "panoptic": _panoptic_thresholds(detector),
        "things": sorted(detector.things or ()) if "segments" in function.output_names else [],
        "thresholds": thresholds,
        "config": kept.dump(),
    }


def _panoptic_thresholds(detector: Any) -> dict[str, float] | None:
    """What joins objects and classes of pixels to segments; None for other models."""
    if not getattr(detector, "combine_enabled", False):
        return None
    return {
        "overlap_threshold": float(detector.combine_overlap_thresh),
        "stuff_area_thresh": float(detector.combine_stuff_area_thresh),
        "instances_score_thresh": float(detector.combine_instances_score_thresh),
    }


def read_description(text: str | None, path: object) -> Mapping[str, Any]:
    """The facts of a file, from their text.

    Args:
        text: JSON; None where the file has none.
        path: of the file, for messages.

    Raises:
        WeightsError: if there is none, or it cannot be read.
    """
    try:
        facts = json.loads(text or "")
    except ValueError as error:
        raise WeightsError(
            f"{path} does not state its classes and its input, as a file of `d2lite export` does. "
            "Export the model with `d2lite export RUN --to onnx`."
        ) from error
    if not isinstance(facts, dict):
        raise WeightsError(f"What {path} states of itself is not a mapping.")
    return facts
