"""Converting files of weights of any origin to checkpoints of ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from .detection_checkpoint import DetectionCheckpointer, translate_names
from .foreign import is_torchvision_detector
from .reading import read_checkpoint
from .remap_classifier import check_class_count

_OWN_KEY = "d2lite"


def is_of_torchvision(content: Mapping[str, Any]) -> bool:
    """Whether what `read_checkpoint` returned is a detector of torchvision."""
    return is_torchvision_detector(content["model"])


def convert_checkpoint(
    path: str,
    *,
    model: nn.Module | None = None,
    class_names: Sequence[str] = (),
    strip: bool = False,
) -> dict[str, Any]:
    """Read weights of any origin and give them our names.

    Args:
        path: file or address; see `read_checkpoint`.
        model: the model that they are for, whose full names they get; without one, the weights of
            a bare backbone keep short names, which each model completes when it loads them.
        class_names: written into the result, in the order of the classes' numbers.
        strip: leave out all but the weights and what is written about them.

    Returns:
        What `write_weights` takes.

    Raises:
        WeightsError: if the file cannot be read or none of its weights fits the model.
        ConfigError: if the heads are for another number of classes.
    """
    if model is None:
        content = read_checkpoint(path)
        weights, by_ending = translate_names(content)
        rest = {key: value for key, value in content.items() if key != "model"}
        rest.pop("matching_heuristics", None)
        if by_ending:
            rest["matching_heuristics"] = True
    else:
        checkpointer = DetectionCheckpointer(model)
        rest = checkpointer.load(path, checkpointables=[])
        report = checkpointer.report
        known = model.state_dict()
        weights = {name: known[name] for name in (report.loaded if report else ())}
    # With Caffe2's mark, names that are ours by now would be translated once more.
    rest.pop("__author__", None)
    about = dict(rest.get(_OWN_KEY) or {})
    if class_names:
        check_class_count(weights, len(class_names))
        about["class_names"] = list(class_names)
    if strip:
        rest = {key: rest[key] for key in ("matching_heuristics",) if key in rest}
    if about:
        rest[_OWN_KEY] = about
    return {"model": weights, **rest}
