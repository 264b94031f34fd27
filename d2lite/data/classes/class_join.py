"""join_by_class_name: one numbering of classes for the sets that are trained on together."""

import logging
from collections.abc import Sequence
from typing import Any

from d2lite.data.catalog import MetadataCatalog
from d2lite.utils.errors import DataError

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]


def join_by_class_name(names: Sequence[str], datasets: list[Records]) -> list[Records]:
    """Give all sets the class numbers of the first one.

    Args:
        names: of registered datasets.
        datasets: the records of each.

    Raises:
        DataError: if their classes are not the same.
    """
    lists = [MetadataCatalog.get(name).get("thing_classes") for name in names]
    first = lists[0]
    joined = []
    for name, classes, records in zip(names, lists, datasets, strict=True):
        if classes is None and first is None:
            joined.append(records)
            continue
        if classes is None or first is None or sorted(classes) != sorted(first):
            raise DataError(_classes_differ(names[0], first, name, classes))
        if list(classes) != list(first):
            logger.info(
                "Dataset %s lists its classes in another order than %s; its category ids are "
                "translated by name.",
                name,
                names[0],
            )
            number = {label: i for i, label in enumerate(first)}
            records = _renumbered(records, [number[label] for label in classes])
        joined.append(records)
    return joined


def _classes_differ(
    first_name: str, first: Sequence[str] | None, name: str, classes: Sequence[str] | None
) -> str:
    only_first = sorted(set(first or ()) - set(classes or ()))
    only_other = sorted(set(classes or ()) - set(first or ()))
    return (
        f"Datasets {first_name!r} and {name!r} cannot be trained on together: their classes "
        f"differ. Only in {first_name!r}: {', '.join(only_first) or 'none'}. "
        f"Only in {name!r}: {', '.join(only_other) or 'none'}. "
        "Register both with the same class names (the order may differ)."
    )


def _renumbered(records: Records, number_of: Sequence[int]) -> Records:
    """Copies of the records whose category id c became number_of[c]."""
    return [
        {
            **record,
            "annotations": [
                {**obj, "category_id": number_of[obj["category_id"]]}
                for obj in record.get("annotations", ())
            ],
        }
        for record in records
    ]
