"""Datasets that one string names, in YAML and on the command line: no registration is needed.

Forms: coco:ANNOTATIONS.json@IMAGES_DIR, voc:ROOT@SPLIT, yolo:DATA.yaml@SPLIT, labelme:DIR,
masks:DIR, images:DIR, auto:DIR@SPLIT, with options after a question mark: ?classes=cat,dog.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog, NameScheme, register_name_scheme
from d2lite.data.classes import OrderedLoader, select_classes
from d2lite.data.datasets.location import barred
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import ConfigError, DataError, MissingFileError

from .auto_layout import is_recognised, recognise
from .coco import CocoSource
from .createml import CreateMLSource
from .csv_table import CsvSource
from .cvat import CvatSource
from .datumaro import DatumaroSource
from .hugging_face import find_hugging_face
from .images import ImagesSource
from .label_studio import LabelStudioSource
from .labelme import LabelMeSource
from .masks import find_masks
from .panoptic import PanopticSource
from .semantic import SemanticSource
from .shards import ShardSource
from .source import Source, find_path, is_there
from .spec_string import KINDS, DatasetSpec, parse_spec
from .splits import choose_split
from .subset import choose_images
from .supervisely import SuperviselySource
from .text_boxes import DotaSource, KittiSource, VisDroneSource, WiderFaceSource
from .via import ViaSource
from .voc import VocSource
from .yolo import YoloSource

# How the files of a kind are found; auto: first becomes one of these.
_SOURCES: dict[str, Callable[..., Source]] = {
    "coco": CocoSource,
    "voc": VocSource,
    "yolo": YoloSource,
    "labelme": LabelMeSource,
    "cvat": CvatSource,
    "via": ViaSource,
    "csv": CsvSource,
    "createml": CreateMLSource,
    "panoptic": PanopticSource,
    "datumaro": DatumaroSource,
    "labelstudio": LabelStudioSource,
    "supervisely": SuperviselySource,
    "dota": DotaSource,
    "kitti": KittiSource,
    "visdrone": VisDroneSource,
    "widerface": WiderFaceSource,
    "hf": find_hugging_face,
    "wds": ShardSource,
    "masks": find_masks,
    "semantic": SemanticSource,
    "images": ImagesSource,
}

_ID_MAP = "thing_dataset_id_to_contiguous_id"

# What evaluators look for in a set's metadata, and only the files can tell.
_COCO_KEYS = ("json_file", "image_root", _ID_MAP)
_VOC_KEYS = ("dirname", "split")
_PIXEL_KEYS = ("stuff_classes", "ignore_label")
_KEYPOINT_KEYS = ("keypoint_names", "keypoint_flip_map")


@dataclass
class _SpecLoader:
    """Loads what a string names. Files are found when they are first needed."""

    spec: DatasetSpec
    _is_share: bool = field(default=False, init=False)

    @cached_property
    def source(self) -> Source:
        try:
            return self._find()
        except PermissionError as err:
            raise (barred(err.filename) or MissingFileError(f"{err}.")) from err

    def _find(self) -> Source:
        spec = self.spec
        kind, path, part = spec.kind, spec.path, spec.part
        folder: Path | None = None
        if part is not None and not is_there(path) and is_there(spec.whole_path()):
            path, part = spec.whole_path(), None
        if kind == "auto":
            folder = find_path(path, suits=is_recognised)
            found, self._is_share = choose_split(
                recognise(folder),
                part,
                has_fraction=spec.val_fraction is not None,
                name=spec.name,
            )
            kind, path, part = found.kind, str(found.path), found.part
        elif KINDS[kind].has_folder and "://" not in path:
            path, part, folder = self._file_in(path, part)
        parts = [part] if KINDS[kind].has_part else []
        more: dict[str, list[Any]] = {"coco": [folder], "csv": [spec.columns], "hf": [spec.boxes]}
        return _SOURCES[kind](path, *parts, *more.get(kind, []))

    def _file_in(self, path: str, part: str | None) -> tuple[str, str | None, Path | None]:
        """The label file, its folder of images, and the folder or archive if one is named."""
        place = find_path(path, suits=lambda p: p.is_file() or is_recognised(p))
        if not place.is_dir():
            return path, part, None
        found, _ = choose_split(recognise(place), None, has_fraction=False, name=self.spec.name)
        if found.kind != self.spec.kind:
            raise ConfigError(
                f"{self.spec.name}: {place} is a folder with files of the kind {found.kind}:. Name "
                f"the file, or write auto:{path}."
            )
        return str(found.path), part or found.part, place

    @property
    def is_altered(self) -> bool:
        """Whether the files hold more than the dataset, so that evaluation must not read them."""
        chosen = self.spec.classes is not None and self.source.evaluator_type == "coco"
        return self._is_share or chosen or self.spec.is_subset

    def fact(self, key: str) -> Any:
        """The value of a metadata key that is in the files; None if it does not apply."""
        source = self.source
        if key == "evaluator_type":
            own = source.evaluator_type
            return "coco" if self.is_altered and own != "sem_seg" else own
        if key == "year":
            return self.spec.year if source.evaluator_type == "pascal_voc" else None
        if self.is_altered and key not in ("image_root", *_PIXEL_KEYS, *_KEYPOINT_KEYS):
            return None
        return source.metadata().get(key)

    def class_fact(self, key: str) -> Any:
        """Class names, or the map from the files' ids to them; noted in the metadata."""
        own, ids = self._own_classes(), self.source.category_ids()
        if own is None:
            return None
        chosen = self._chosen(own)
        facts: dict[str, Any] = {"thing_classes": chosen}
        if ids is not None:
            index_of = {label: index for index, label in enumerate(chosen)}
            facts[_ID_MAP] = {
                number: index_of[label]
                for number, label in zip(ids, own, strict=True)
                if label in index_of
            }
        MetadataCatalog.get(self.spec.name).replace(**facts)
        return facts.get(key)

    def _own_classes(self) -> list[str] | None:
        """The classes of the files; None for a set without objects, which has none to choose."""
        own = self.source.classes()
        if own is None and self.spec.classes:
            raise ConfigError(f"{self.spec.name}: classes= is for sets of objects; it has none.")
        return own

    def _chosen(self, own: list[str]) -> list[str]:
        repeated = sorted(label for label, count in Counter(own).items() if count > 1)
        if repeated:
            raise DataError(
                f"{self.spec.name}: the classes {', '.join(map(repr, repeated))} are defined more "
                "than once. Classes are distinguished by their names; give each one id."
            )
        unknown = [label for label in self.spec.classes or () if label not in own]
        if unknown:
            raise ConfigError(
                f"{self.spec.name}: the data have no class {', '.join(map(repr, unknown))}. They "
                f"have {len(own)}: {', '.join(own)}."
            )
        return self.spec.classes or own

    def __call__(self) -> list[dict[str, Any]]:
        """The dataset dicts, numbered as the metadata's thing_classes says."""
        with collecting_faults(self.spec.name):
            records = self.source.load()
        own = self._own_classes()
        if own is not None:
            metadata = MetadataCatalog.get(self.spec.name)
            wanted = metadata.thing_classes
            used = set(metadata.get("own_classes", wanted))
            own = [label if label in used else "" for label in own]
            records = select_classes(records, own, wanted)
        if self._is_share:
            records = self._share(records)
        return choose_images(records, self.spec) if self.spec.is_subset else records

    def _share(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The training or the validation share of data that are not split."""
        is_val = self.spec.part in ("val", "valid", "validation")
        num_val = max(1, round(len(records) * (self.spec.val_fraction or 0)))
        if num_val >= len(records):
            raise DataError(
                f"{self.spec.name}: {len(records)} images cannot be split so that training and "
                "validation both get one. Choose another val_fraction."
            )
        # By name, so that the draw does not depend on ids or on the order of the file.
        order = sorted(range(len(records)), key=lambda i: records[i]["file_name"])
        drawn = np.random.default_rng(self.spec.seed).permutation(len(records))[:num_val]
        held_out = {order[i] for i in drawn}
        return [
            # Evaluation writes these ids into a COCO file, where they are numbers.
            {**record, "image_id": number}
            for number, record in enumerate(records, start=1)
            if (number - 1 in held_out) == is_val
        ]


def register_spec(name: str) -> None:
    """Put a dataset string into both catalogs; its files are looked for later.

    Raises:
        ConfigError: if it is malformed.
    """
    loader = _SpecLoader(parse_spec(name))
    keys = {
        "coco": (*_COCO_KEYS, *_KEYPOINT_KEYS),
        "voc": (*_VOC_KEYS, "year", "evaluator_type"),
        "images": ("image_root",),
        "semantic": (*_PIXEL_KEYS, "evaluator_type"),
        "auto": (*_COCO_KEYS, *_VOC_KEYS, *_PIXEL_KEYS, *_KEYPOINT_KEYS, "year", "evaluator_type"),
    }.get(loader.spec.kind, _KEYPOINT_KEYS)
    DatasetCatalog.register(name, OrderedLoader(loader))
    metadata = MetadataCatalog.get(name).set_deferred(
        thing_classes=partial(loader.class_fact, "thing_classes"),
        **{key: partial(loader.fact, key) for key in keys},
    )
    if _ID_MAP in keys:
        metadata.set_deferred(**{_ID_MAP: partial(loader.class_fact, _ID_MAP)})
    if "evaluator_type" not in keys:
        metadata.set(evaluator_type="coco")


def _is_well_formed(name: str) -> bool:
    try:
        parse_spec(name)
    except ConfigError:
        return False
    return True


for _prefix, _kind in KINDS.items():
    register_name_scheme(_prefix, NameScheme(_kind.form, _is_well_formed, register_spec))
