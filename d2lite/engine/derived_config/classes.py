"""The classes of a run: which key holds their number, and how it follows from the data."""

import logging
from collections.abc import Sequence

from torch import nn

from d2lite.config import CfgNode, PythonRunConfig
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# Architectures whose key is not MODEL.<NAME>.NUM_CLASSES; None for those without classes.
_KEYS: dict[str, str | None] = {
    "GeneralizedRCNN": "MODEL.ROI_HEADS.NUM_CLASSES",
    "PanopticFPN": "MODEL.ROI_HEADS.NUM_CLASSES",
    "ProposalNetwork": None,
    "SemanticSegmentor": None,
    "EoMT": "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    "MaskFormer": "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    "DINO": "MODEL.DETR.NUM_CLASSES",
    "DeformableDETR": "MODEL.DETR.NUM_CLASSES",
}


# Architectures that give each pixel a class of its own list, the stuff_classes of a set.
_WITH_PIXELS = ("PanopticFPN", "SemanticSegmentor")
_PIXEL_KEY = "MODEL.SEM_SEG_HEAD.NUM_CLASSES"


def num_classes_key(cfg: CfgNode) -> str | None:
    """Return the key that sets the number of object classes of the chosen architecture.

    Args:
        cfg: MODEL.META_ARCHITECTURE is read.

    Returns:
        Such as "MODEL.ROI_HEADS.NUM_CLASSES"; None if the architecture has no such key, as may be
        with a user's own.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    key = _KEYS.get(name, f"MODEL.{name.upper()}.NUM_CLASSES")
    if key is None or (key == _PIXEL_KEY and _has_pixels(cfg)):
        return None
    node = cfg.MODEL.get(key.split(".")[1], {})
    return key if "NUM_CLASSES" in node else None


def shown_classes_key(cfg: CfgNode) -> str:
    """Name what a person sets for the number of object classes, for messages."""
    key = num_classes_key(cfg)
    if key is not None and isinstance(cfg, PythonRunConfig):
        return cfg.origin(key).rpartition(" ")[2]
    return key or "NUM_CLASSES"


def get_num_classes(cfg: CfgNode) -> int | None:
    """Return the number of classes that the model will predict, or None if no key says it."""
    key = num_classes_key(cfg)
    if key is None:
        return None
    return int(cfg.MODEL[key.split(".")[1]].NUM_CLASSES)


def get_class_names(dataset_name: str) -> list[str] | None:
    """Return a dataset's class names in the order of their numbers.

    A set whose names are only known from its files is loaded for them.

    Args:
        dataset_name: a registered name.

    Returns:
        The names, or None for a set that has none, such as one of proposals alone.

    Raises:
        ConfigError: if the set has the empty list of names.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        DatasetCatalog.get(dataset_name)
    names = metadata.get("thing_classes")
    if names is None:
        return None
    if not names:
        raise ConfigError(
            f"The dataset {dataset_name!r} has zero classes, so there is nothing to detect. "
            "List its classes where it is registered (thing_classes, or the categories of its "
            "COCO file)."
        )
    return list(names)


def find_data_classes(cfg: CfgNode) -> tuple[list[str] | None, str]:
    """Find the classes that a run is about, if possible without loading a set.

    Args:
        cfg: DATASETS.TRAIN and DATASETS.TEST are read.

    Returns:
        The class names and the name of the set they were found at; (None, "") if no set has any.
    """
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if name in DatasetCatalog and MetadataCatalog.get(name).get("thing_classes") is not None:
            return get_class_names(name), name
    # An evaluation needs the files of the test set anyway, and those of the training set never.
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        class_names = get_class_names(name)
        if class_names is not None:
            return class_names, name
    return None, ""


def follow_data_classes(cfg: CfgNode, class_names: Sequence[str] | None, source: str) -> None:
    """Set the number of classes from their names, unless somebody set it.

    That of the pixels' classes, of architectures with such, follows from the sets in cfg.

    Args:
        cfg: may be frozen; the key of its architecture is derived in place.
        class_names: the classes; None leaves the number of objects' classes alone.
        source: where the names come from, for the log.

    Raises:
        ConfigError: if somebody set fewer pixels' classes than a set has.
    """
    if _has_pixels(cfg):
        _follow_stuff_classes(cfg)
    key = num_classes_key(cfg)
    if class_names is None or key is None:
        return
    if _is_free(cfg, key) and get_num_classes(cfg) != len(class_names):
        cfg.derive(key, len(class_names), f"the classes of {source}")
        logger.info(f"{key} {len(class_names)} follows from the classes of {source}")


def _has_pixels(cfg: CfgNode) -> bool:
    name = cfg.MODEL.META_ARCHITECTURE
    # One model for all kinds of segmentation: its samples say what the classes are of.
    is_universal = name in ("EoMT", "MaskFormer")
    is_of_pixels = is_universal and "instance" not in cfg.INPUT.DATASET_MAPPER_NAME
    return name in _WITH_PIXELS or is_of_pixels


def _is_free(cfg: CfgNode, key: str) -> bool:
    # Once derived, it still follows: the value came from data, not from a person.
    return cfg.is_default(key) or cfg.origin(key).startswith("derived")


def _follow_stuff_classes(cfg: CfgNode) -> None:
    for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        is_known = dataset in DatasetCatalog
        names = MetadataCatalog.get(dataset).get("stuff_classes") if is_known else None
        count = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        if not names or len(names) == count:
            continue
        if not _is_free(cfg, _PIXEL_KEY):
            message = (
                f"{_PIXEL_KEY}={count} does not fit {dataset!r}, whose pixels have {len(names)} "
                f"classes: {', '.join(names[:20])}. Set {_PIXEL_KEY} {len(names)}, or leave the "
                "key out: then it follows from the data."
            )
            if count < len(names):
                raise ConfigError(message)
            logger.warning(message)
            continue
        cfg.derive(_PIXEL_KEY, len(names), f"the stuff classes of the dataset {dataset}")
        logger.info(f"{_PIXEL_KEY} {len(names)} follows from the stuff classes of {dataset}")


def name_classes(model: nn.Module, class_names: Sequence[str] | None) -> None:
    """Set `model.class_names`, which checkpoints, evaluation and test-time augmentation read.

    Args:
        model: without a wrapper.
        class_names: in the order of their numbers; None if they are not known.
    """
    # A model of somebody's own need not declare the attribute.
    setattr(model, "class_names", class_names)  # noqa: B010
