"""How often each class occurs in a dataset, as a table to show and to keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lite.utils.errors import DataError

# From so many classes on, the table is in several columns side by side.
_LONG, _BLOCKS = 20, 3
_NAME_WIDTH = 24


@dataclass(frozen=True)
class ClassCounts:
    """Classes and how often they occur; crowd regions do not count.

    Attributes:
        names: of the classes, by their numbers from 0.
        file_ids: the id of each in its file; None where it is not known.
        objects: of each class.
        images: with an object of each class.
        num_images: in all.
    """

    names: tuple[str, ...]
    file_ids: tuple[Any, ...]
    objects: tuple[int, ...]
    images: tuple[int, ...]
    num_images: int

    def rows(self) -> list[dict[str, Any]]:
        """One dict of plain values a class."""
        table = zip(self.file_ids, self.names, self.objects, self.images, strict=True)
        return [
            {"index": index, "id": number, "name": name, "objects": objects, "images": images}
            for index, (number, name, objects, images) in enumerate(table)
        ]

    def table(self) -> str:
        """A table of number, id in the file where that differs, name, objects and images."""
        numbers = [str(i) for i in range(len(self.names))]
        columns = [["id", *numbers], ["class", *(name[:_NAME_WIDTH] for name in self.names)]]
        columns += [["objects", *map(str, self.objects)], ["images", *map(str, self.images)]]
        ids = ["" if number is None else str(number) for number in self.file_ids]
        if any(ids) and ids != numbers:
            columns.insert(1, ["file id", *ids])
        cells = [
            [text.ljust(width) if texts[0] == "class" else text.rjust(width) for text in texts]
            for texts in columns
            for width in [max(map(len, texts))]
        ]
        head, *body = ("  ".join(row) for row in zip(*cells, strict=True))
        blocks = 1 if len(body) <= _LONG else _BLOCKS
        height = -(-len(body) // blocks)
        lines = [f"Objects of each class over {self.num_images} images:"]
        lines.append(" | ".join([head] * min(blocks, max(1, len(body)))))
        lines += [" | ".join(body[i::height]) for i in range(height)]
        lines.append(f"total: {sum(self.objects)} objects of {len(body)} classes")
        return "\n".join(lines)


def count_classes(
    dataset_dicts: Sequence[dict[str, Any]],
    class_names: Sequence[str],
    file_ids: Sequence[Any] | None = None,
) -> ClassCounts:
    """Count the objects of each class and the images that have any.

    Args:
        dataset_dicts: with "annotations".
        class_names: name of each category id.
        file_ids: the id of each class in its file; None where they are not known.

    Raises:
        DataError: if an annotation's category id is not a number of a class.
    """
    objects = np.zeros(len(class_names), dtype=np.int64)
    images = np.zeros(len(class_names), dtype=np.int64)
    for record in dataset_dicts:
        found = [o["category_id"] for o in record.get("annotations", ()) if not o.get("iscrowd", 0)]
        numbers = np.asarray(found, dtype=np.int64)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(class_names):
            raise DataError(
                f"{record.get('file_name', 'An image')} has an object of category id "
                f"{numbers[(numbers < 0) | (numbers >= len(class_names))][0]}, but the dataset's "
                f"{len(class_names)} classes are numbered 0 to {len(class_names) - 1}. Correct "
                "category_id in the function that loads it, or the metadata's thing_classes."
            )
        np.add.at(objects, numbers, 1)
        images[np.unique(numbers)] += 1
    return ClassCounts(
        names=tuple(class_names),
        file_ids=tuple(file_ids or [None] * len(class_names)),
        objects=tuple(objects.tolist()),
        images=tuple(images.tolist()),
        num_images=len(dataset_dicts),
    )
