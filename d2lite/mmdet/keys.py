"""MMDetection's settings of a model, its data and its training, as keys of ours.

What has no counterpart is listed in words. Numbers that mean the same in both are carried over;
`docs/mmdetection_models.md` says on which facts each rests.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from d2lite.utils.errors import ConfigError

from .dense_keys import dense_keys
from .parts import Keys, Part, kind_of
from .query_keys import detr_keys, mask2former_keys, solov2_keys
from .rcnn_keys import rcnn_keys
from .retinanet_keys import retinanet_keys
from .ssd_keys import ssd_keys
from .training import training_keys
from .yolo_keys import rtmdet_keys, yolov3_keys, yolox_keys


class Converted(NamedTuple):
    """A configuration of ours.

    keys: dotted key -> value.
    base: the file of ours that they change.
    left_out: what has no counterpart, a sentence each.
    """

    keys: Keys
    base: str
    left_out: list[str]


def convert_mmdet_config(content: Part) -> Converted:
    """The keys that build, train and test the same model.

    Args:
        content: what `read_mmdet_config` returned.

    Raises:
        ConfigError: if the model, or a part of it that decides its numbers, has no counterpart.
    """
    model = content.get("model")
    if not isinstance(model, Mapping) or "type" not in model:
        raise ConfigError("The file has no `model = dict(type=...)`; give a config of a detector.")
    kind = kind_of(model)
    left_out: list[str] = []
    if kind not in _MODELS:
        known = ", ".join(name for name, _ in _MODELS.values())
        raise ConfigError(f"There is no counterpart of the model {kind!r} yet; there are {known}.")
    name, convert = _MODELS[kind]
    # When YOLOX's further loss begins is a setting of the training.
    more = [content] if kind == "YOLOX" else []
    try:
        keys, base = convert(model, left_out, *more)
        keys |= _pixels(content, model)
        keys |= training_keys(content, left_out)
    except ConfigError:
        raise
    except KeyError as err:
        raise ConfigError(
            f"The setting {err} that a {name} of MMDetection has is not there."
        ) from err
    except (AttributeError, IndexError, TypeError, ValueError, ArithmeticError) as err:
        raise ConfigError(
            f"A setting has another form than in a {name} of MMDetection "
            f"({type(err).__name__}: {err})."
        ) from err
    return Converted(keys, base, left_out)


def _pixels(content: Part, model: Part) -> Keys:
    """Means and deviations, of version 3 in the model, of version 2 in the data's steps."""
    found = model.get("data_preprocessor") or content.get("img_norm_cfg") or {}
    if "mean" not in found:
        return {}
    is_rgb = found.get("bgr_to_rgb", found.get("to_rgb", False))
    return {
        "INPUT.FORMAT": "RGB" if is_rgb else "BGR",
        "MODEL.PIXEL_MEAN": list(found["mean"]),
        "MODEL.PIXEL_STD": list(found["std"]),
    }


# What a model is called, and what gives its keys and our file that they change.
_MODELS: dict[str, tuple[str, Callable[..., tuple[Keys, str]]]] = {
    "RTMDet": ("RTMDet and RTMDet-Ins", rtmdet_keys),
    "FasterRCNN": ("Faster R-CNN", rcnn_keys),
    "MaskRCNN": ("Mask R-CNN", rcnn_keys),
    "CascadeRCNN": ("Cascade R-CNN", rcnn_keys),
    "YOLOX": ("YOLOX", yolox_keys),
    "YOLOV3": ("YOLOv3", yolov3_keys),
    "SingleStageDetector": ("SSD", ssd_keys),
    "RetinaNet": ("RetinaNet", retinanet_keys),
    "FCOS": ("FCOS", dense_keys),
    "ATSS": ("ATSS", dense_keys),
    "GFL": ("GFL", dense_keys),
    "VFNet": ("VFNet", dense_keys),
    "FSAF": ("FSAF", dense_keys),
    "SOLOv2": ("SOLOv2", solov2_keys),
    "Mask2Former": ("Mask2Former", mask2former_keys),
    "DETR": ("DETR", detr_keys),
    "DeformableDETR": ("Deformable DETR", detr_keys),
    "DINO": ("DINO", detr_keys),
}
