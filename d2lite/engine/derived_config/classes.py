"""The classes of a run: which key holds their number, and how it follows from the data."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

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
    "ATSS": "MODEL.DENSE.NUM_CLASSES",
    "GFL": "MODEL.DENSE.NUM_CLASSES",
    "FCPose": "MODEL.FCOS.NUM_CLASSES",
    "FSAF": "MODEL.DENSE.NUM_CLASSES",
    "SABLRetinaNet": "MODEL.DENSE.NUM_CLASSES",
    "ScaledFCOS": "MODEL.DENSE.NUM_CLASSES",
    "VFNet": "MODEL.DENSE.NUM_CLASSES",
    "DINO": "MODEL.DETR.NUM_CLASSES",
    "DeformableDETR": "MODEL.DETR.NUM_CLASSES",
}


# Architectures that give each pixel a class of its own list, the stuff_classes of a set.
_WITH_PIXELS = ("PanopticFPN", "SemanticSegmentor")
_PIXEL_KEY = "MODEL.SEM_SEG_HEAD.NUM_CLASSES"


@dataclass(frozen=True)
class ClassKey:
    """Where a config holds the number of object classes of its architecture.

    Attributes:
        key: such as "MODEL.ROI_HEADS.NUM_CLASSES"; None if the architecture has no such key, as
            may be with a user's own.
        count: its value; None without a key.
        is_free: whether the number may follow from the data: no person has set it.
        shown: what a person sets for it, for messages.
        has_pixels: whether each pixel gets a class of its own list, the stuff_classes of a set.
        cfg: the whole config.
    """

    key: str | None
    count: int | None
    is_free: bool
    shown: str
    has_pixels: bool
    cfg: CfgNode

    @classmethod
    def of(cls, cfg: CfgNode) -> "ClassKey":
        """Find the key by MODEL.META_ARCHITECTURE.

        Args:
            cfg: the whole config.
        """
        name = cfg.MODEL.META_ARCHITECTURE
        # One model for all kinds of segmentation: its samples say what the classes are of.
        is_universal = name in ("EoMT", "MaskFormer")
        is_of_pixels = is_universal and "instance" not in cfg.INPUT.DATASET_MAPPER_NAME
        has_pixels = name in _WITH_PIXELS or is_of_pixels
        key = _KEYS.get(name, f"MODEL.{name.upper()}.NUM_CLASSES")
        section = cfg.MODEL.get(key.split(".")[1]) if key is not None else None
        count = None if section is None else section.get("NUM_CLASSES")
        if key is None or count is None or (key == _PIXEL_KEY and has_pixels):
            return cls(None, None, False, "NUM_CLASSES", has_pixels, cfg)
        origin = cfg.origin(key)
        shown = origin.rpartition(" ")[2] if isinstance(cfg, PythonRunConfig) else key
        return cls(key, int(count), _follows(origin), shown, has_pixels, cfg)

    def follow(self, class_names: Sequence[str] | None, source: str) -> None:
        """Set the number of classes from their names, unless somebody set it.

        That of the pixels' classes, of architectures with such, follows from the sets in cfg.

        Args:
            class_names: the classes; None leaves the number of objects' classes alone.
            source: where the names come from, for the log.

        Raises:
            ConfigError: if somebody set fewer pixels' classes than a set has.
        """
        if self.has_pixels:
            for dataset in (*self.cfg.DATASETS.TRAIN, *self.cfg.DATASETS.TEST):
                self._follow_stuff_classes(dataset)
        if class_names is None or self.key is None:
            return
        if self.is_free and self.count != len(class_names):
            self.cfg.derive(self.key, len(class_names), f"the classes of {source}")
            logger.info(f"{self.key} {len(class_names)} follows from the classes of {source}")

    def _follow_stuff_classes(self, dataset: str) -> None:
        is_known = dataset in DatasetCatalog
        names = MetadataCatalog.get(dataset).get("stuff_classes") if is_known else None
        count = self.cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        if not names or len(names) == count:
            return
        if _follows(self.cfg.origin(_PIXEL_KEY)):
            why = f"the stuff classes of the dataset {dataset}"
            self.cfg.derive(_PIXEL_KEY, len(names), why)
            logger.info(f"{_PIXEL_KEY} {len(names)} follows from the stuff classes of {dataset}")
            return
        message = (
            f"{_PIXEL_KEY}={count} does not fit {dataset!r}, whose pixels have {len(names)} "
            f"classes: {', '.join(names[:20])}. Set {_PIXEL_KEY} {len(names)}, or leave the "
            "key out: then it follows from the data."
        )
        if count < len(names):
            raise ConfigError(message)
        logger.warning(message)


def _follows(origin: str) -> bool:
    # Once derived, it still follows: the value came from data, not from a person.
    return origin == "default" or origin.startswith("derived")


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
    if isinstance(names, str):
        raise ConfigError(
            f"thing_classes of the dataset {dataset_name!r} is the text {names!r}, and it has to "
            f"be a list of names: thing_classes=[{names!r}]."
        )
    if not names:
        raise ConfigError(
            f"The dataset {dataset_name!r} has zero classes, so there is nothing to detect. "
            "List its classes where it is registered (thing_classes, or the categories of its "
            "COCO file)."
        )
    return list(names)


def find_data_classes(train: Sequence[str], test: Sequence[str]) -> tuple[list[str] | None, str]:
    """Find the classes that a run is about, if possible without loading a set.

    Args:
        train: names of the training sets.
        test: names of the evaluation sets.

    Returns:
        The class names and the name of the set they were found at; (None, "") if no set has any.
    """
    for name in (*train, *test):
        if name in DatasetCatalog and MetadataCatalog.get(name).get("thing_classes") is not None:
            return get_class_names(name), name
    # An evaluation needs the files of the test set anyway, and those of the training set never.
    for name in (*test, *train):
        class_names = get_class_names(name)
        if class_names is not None:
            return class_names, name
    return None, ""


def name_classes(model: nn.Module, class_names: Sequence[str] | None) -> None:
    """Set `model.class_names`, which checkpoints, evaluation and test-time augmentation read.

    Args:
        model: without a wrapper.
        class_names: in the order of their numbers; None if they are not known.
    """
    # A model of somebody's own need not declare the attribute.
    setattr(model, "class_names", class_names)  # noqa: B010
