"""One numbering of classes for all sets of a run: evaluation sets follow the training's order."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class OrderedLoader:
    """A dataset's function that numbers classes as the metadata's thing_classes lists them.

    Only such a set can be put into another order; a function of which nothing is known may have
    its numbers written into it.
    """

    load: Callable[[], Records]

    def __call__(self) -> Records:
        """Load the set."""
        return self.load()


def select_classes(records: Records, own: Sequence[str], wanted: Sequence[str]) -> Records:
    """Number objects by another list of classes; those of other classes are left out.

    Args:
        records: dataset dicts whose category ids count `own`.
        own: class names.
        wanted: class names, each of them one of `own`.

    Returns:
        New dicts where anything changes; images that lose all objects stay, with none.
    """
    if list(own) == list(wanted):
        return records
    number = {label: index for index, label in enumerate(wanted)}
    number_of = {index: number[label] for index, label in enumerate(own) if label in number}
    return [
        {
            **record,
            "annotations": [
                {**obj, "category_id": number_of[obj["category_id"]]}
                for obj in record["annotations"]
                if obj["category_id"] in number_of
            ],
        }
        if "annotations" in record
        else record
        for record in records
    ]


def follow_class_order(dataset_name: str, class_names: Sequence[str]) -> None:
    """Number a dataset's classes in the order of a model's, if they are the same classes.

    Metadata, the records that are loaded from now on, and the map to the file's own ids change
    together. A set without any classes (images alone) takes over the names. A set of other
    classes, or one whose function is not known the order, is left as it is.

    Args:
        dataset_name: an evaluation set.
        class_names: the model's classes in the order of their numbers.
    """
    if dataset_name not in DatasetCatalog:
        return
    metadata = MetadataCatalog.get(dataset_name)
    if not isinstance(DatasetCatalog.data.get(dataset_name), OrderedLoader):
        return
    if metadata.get("thing_classes") is None:
        DatasetCatalog.get(dataset_name)
    own, wanted = metadata.get("thing_classes"), list(class_names)
    if own is None:
        metadata.set(thing_classes=wanted)
    elif list(own) != wanted and sorted(own) == sorted(wanted):
        logger.info(
            "Dataset %s lists its classes in another order than the model; its category ids are "
            "translated by name.",
            dataset_name,
        )
        metadata.replace(thing_classes=wanted)
        mapping = metadata.get("thing_dataset_id_to_contiguous_id")
        if mapping is not None:
            number = {label: index for index, label in enumerate(wanted)}
            moved = {dataset: number[own[index]] for dataset, index in mapping.items()}
            metadata.replace(thing_dataset_id_to_contiguous_id=moved)
