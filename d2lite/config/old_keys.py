"""Keys that files of other ages and programs have: names of version 1, and parts of AdelaiDet."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# Key of version 0 -> its name since version 1.
RENAMED_IN_1 = {"MODEL.RPN_HEAD.NAME": "MODEL.RPN.HEAD_NAME"}

# Key of version 1 -> its name since version 2.
RENAMED_IN_2 = {
    "MODEL.WEIGHT": "MODEL.WEIGHTS",
    "MODEL.PANOPTIC_FPN.SEMANTIC_LOSS_SCALE": "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.RPN_LOSS_SCALE": "MODEL.RPN.LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_SCALE": "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.COMBINE_ON": "MODEL.PANOPTIC_FPN.COMBINE.ENABLED",
    "MODEL.ROI_HEADS.SCORE_THRESH": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    "MODEL.RETINANET.INFERENCE_SCORE_THRESHOLD": "MODEL.RETINANET.SCORE_THRESH_TEST",
    "MODEL.RETINANET.INFERENCE_TOPK_CANDIDATES": "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
    "MODEL.RETINANET.INFERENCE_NMS_THRESHOLD": "MODEL.RETINANET.NMS_THRESH_TEST",
    "TEST.DETECTIONS_PER_IMG": "TEST.DETECTIONS_PER_IMAGE",
    "TEST.AUG_ON": "TEST.AUG.ENABLED",
    "TEST.AUG_MIN_SIZES": "TEST.AUG.MIN_SIZES",
    "TEST.AUG_MAX_SIZE": "TEST.AUG.MAX_SIZE",
    "TEST.AUG_FLIP": "TEST.AUG.FLIP",
    "MODEL.RPN.ANCHOR_SIZES": "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.RPN.ANCHOR_ASPECT_RATIOS": "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
}

RENAMED = {**RENAMED_IN_1, **RENAMED_IN_2}

# RetinaNet had anchors of its own in version 1.
_OF_RETINANET = {
    "MODEL.RETINANET.ANCHOR_SIZES": "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.RETINANET.ANCHOR_ASPECT_RATIOS": "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
}

# Sections and keys of AdelaiDet for models that are not here. Saved configs hold all of them; the
# name of the model decides whether they matter.
_OF_OTHER_MODELS = tuple(
    f"MODEL.{name}"
    for name in (
        *("BAText", "BASIS_MODULE", "BiFPN", "BLENDMASK", "BOXINST", "CONDINST", "DLA", "FCPOSE"),
        *("FCPOSE_ON", "MEInst", "MOBILENET", "TOP_MODULE", "VOVNET", "BACKBONE.ANTI_ALIAS"),
    )
)


def with_present_names(content: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Give the keys of version 1 in a file the names that they have now.

    Args:
        content: of a file; not changed.
        origin: where it is from, for the message.

    Returns:
        The content, of the present version.
    """
    result: dict[str, Any] = copy.deepcopy(dict(content))
    # The first of two that lead to one name is taken.
    renamed_here = {**RENAMED, **_OF_RETINANET}
    if _take(result, "MODEL.META_ARCHITECTURE", remove=False) == "RetinaNet":
        renamed_here = {**_OF_RETINANET, **RENAMED}
    found = [old for old in renamed_here if _take(result, old, remove=False) is not None]
    for old in found:
        *sections, name = renamed_here[old].split(".")
        value, node = _take(result, old, remove=True), result
        for section in sections:
            node = node.setdefault(section, {})
        node.setdefault(name, value)
    if found:
        renamed = ", ".join(f"{old} -> {renamed_here[old]}" for old in found)
        logger.warning("%s has keys of version 1, read by their present names: %s", origin, renamed)
    if result.get("VERSION") in (0, 1):
        result.pop("VERSION")
    return result


def _take(content: dict[str, Any], key: str, *, remove: bool) -> Any:
    *sections, name = key.split(".")
    node: Any = content
    for section in sections:
        node = node.get(section) if isinstance(node, dict) else None
    found = node.get(name) if isinstance(node, dict) else None
    if remove:
        del node[name]
        if not node and sections:
            _take(content, ".".join(sections), remove=True)
    return found


def is_of_another_model(key: str, value: Any, origin: str) -> bool:
    """Whether an unknown key belongs to a model of AdelaiDet that is not here.

    Args:
        key: dotted name.
        value: that a file gives it.
        origin: the file, for messages.

    Raises:
        ConfigError: if the key switches such a model on.
    """
    if not any(key == known or key.startswith(f"{known}.") for known in _OF_OTHER_MODELS):
        return False
    if value is True:
        raise ConfigError(
            f"{origin}: {key} switches on a part of AdelaiDet that is not in d2lite. Set it to "
            "False, or register your own model and add the key before the file is read."
        )
    logger.info("%s: %s is for another model of AdelaiDet and has no effect here", origin, key)
    return True
