"""One numbering of classes for all sets of a run: evaluation sets follow the training's order."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.normal_forms import as_id

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class OrderedLoader:
    """A dataset's function that numbers classes as the metadata's thing_classes lists them."""

    load: Callable[[], Records]

    def __call__(self) -> Records:
        """Load the set."""
        return self.load()


@dataclass(frozen=True)
class _Translated:
    """A function of somebody's own, whose class numbers are translated after each call.

    Inside of the call the metadata are those that the function was registered with: it may read
    them, or have its numbers written into it.
    """

    name: str
    load: Callable[[], Records]

    def __call__(self) -> Records:
        metadata = MetadataCatalog.get(self.name)
        wanted, own = metadata.thing_classes, metadata.get("own_classes")
        if own is None:
            return self.load()
        kept = {key: value for key, value in vars(metadata).items() if key in _MOVED}
        for key in kept:
            del vars(metadata)[key]
        metadata.replace(thing_classes=own)
        if "own_ids" in kept:
            metadata.replace(thing_dataset_id_to_contiguous_id=kept["own_ids"])
        try:
            records = self.load()
        finally:
            metadata.replace(**kept)
        return select_classes(records, own, wanted) if isinstance(records, list) else records


_MOVED = ("thing_classes", "own_classes", "thing_dataset_id_to_contiguous_id", "own_ids")


def select_classes(records: Records, own: Sequence[str], wanted: Sequence[str]) -> Records:
    """Number objects by another list of classes; those of other classes are left out.

    Args:
        records: dataset dicts whose category ids count `own`; an object without one stays as it is.
        own: class names.
        wanted: class names, each of them one of `own`.

    Returns:
        New dicts where anything changes; images that lose all objects stay, with none.
    """
    if list(own) == list(wanted):
        return records
    number = {label: index for index, label in enumerate(wanted)}
    number_of: dict[Any, int] = {
        index: number[label] for index, label in enumerate(own) if label in number
    }
    return [
        {
            **record,
            "annotations": [
                {**obj, "category_id": number_of[index]} if index is not None else obj
                for obj in record["annotations"]
                if (index := as_id(obj.get("category_id"))) is None or index in number_of
            ],
        }
        if "annotations" in record
        else record
        for record in records
    ]


def follow_class_order(dataset_name: str, class_names: Sequence[str]) -> None:
    """Number a dataset's classes as a model does, by their names.

    Metadata, the records that are loaded from now on, and the map to the file's own ids change
    together. Objects of classes that the model does not have are left out. A set without any
    classes (images alone) takes over the names. A set that shares no class with the model is left
    as it is.

    Args:
        dataset_name: an evaluation set.
        class_names: the model's classes in the order of their numbers.
    """
    if dataset_name not in DatasetCatalog:
        return
    metadata = MetadataCatalog.get(dataset_name)
    is_ordered = isinstance(DatasetCatalog.data.get(dataset_name), OrderedLoader)
    if not is_ordered and metadata.get("evaluator_type", "coco") != "coco":
        return  # evaluators of other benchmarks know their classes themselves
    if metadata.get("thing_classes") is None:
        DatasetCatalog.get(dataset_name)
    now, wanted = metadata.get("thing_classes"), list(class_names)
    if now is None:
        if is_ordered:
            metadata.set(thing_classes=wanted)
        return
    own = metadata.get("own_classes", now)
    if list(now) == wanted or not set(own) & set(wanted):
        return
    _log_difference(dataset_name, own, wanted)
    load = DatasetCatalog.data[dataset_name]
    if not is_ordered and not isinstance(load, _Translated):
        DatasetCatalog.data[dataset_name] = _Translated(dataset_name, load)
    mapping = metadata.get("own_ids", metadata.get("thing_dataset_id_to_contiguous_id"))
    metadata.replace(thing_classes=wanted, own_classes=list(own))
    if mapping is not None:
        number = {label: index for index, label in enumerate(wanted)}
        moved = {
            dataset: number[own[index]]
            for dataset, index in mapping.items()
            if own[index] in number
        }
        metadata.replace(thing_dataset_id_to_contiguous_id=moved, own_ids=mapping)


def _log_difference(dataset_name: str, own: Sequence[str], wanted: Sequence[str]) -> None:
    only_here = [label for label in own if label not in set(wanted)]
    only_there = [label for label in wanted if label not in set(own)]
    if not only_here and not only_there:
        logger.info(
            "Dataset %s lists its classes in another order than the model; its category ids are "
            "translated by name.",
            dataset_name,
        )
        return
    logger.warning(
        "Dataset %s has other classes than the model; they are joined by name. Only in the "
        "dataset, so not scored: %s. Only in the model, so without a score here: %s.",
        dataset_name,
        ", ".join(only_here) or "none",
        ", ".join(only_there) or "none",
    )
