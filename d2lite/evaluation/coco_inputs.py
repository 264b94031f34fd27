"""What engines of COCO's evaluation are given: readable results, upright boxes, numbers as ids."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2lite.data.normal_forms import as_id
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

logger = logging.getLogger(__name__)

_LARGEST_ID = 2**53
# A result is compared by one of its parts. With a box in it, engines would sort masks into ranges
# of area by their boxes.
_UNUSED_PARTS = {"bbox": ("segmentation", "keypoints"), "segm": ("bbox", "keypoints")}


def parts_by_category(
    dataset: Mapping[str, Any], results: Sequence[Mapping[str, Any]], most: int | None
) -> Iterator[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
    """Split what is scored, as one category does not depend on another.

    Args:
        dataset: COCO dict of the ground truth.
        results: COCO result dicts.
        most: annotations and results of a part, which a single category may exceed; None to
            leave all together, as where ids of categories are not whole numbers.

    Yields:
        Parts of the dataset with their results, in the order of the ids of categories.
    """
    entries = (dataset.get("annotations", ()), results)
    ids = sorted({c["id"] for c in dataset.get("categories", ()) if type(c["id"]) is int})
    if (
        most is None
        or sum(map(len, entries)) <= most
        or len(ids) < len(dataset.get("categories", ()))
    ):
        yield dataset, results
        return
    counts = Counter(as_id(entry.get("category_id")) for kind in entries for entry in kind)
    groups: list[set[int]] = [set()]
    for one in ids:
        if groups[-1] and sum(counts[i] for i in (*groups[-1], one)) > most:
            groups.append(set())
        groups[-1].add(one)
    for group in groups:
        annotations, found = (
            [entry for entry in kind if as_id(entry.get("category_id")) in group]
            for kind in entries
        )
        categories = [c for c in dataset["categories"] if c["id"] in group]
        kept = type(entries[0])(annotations)
        yield {**dataset, "categories": categories, "annotations": kept}, found


def results_to_compare(
    results: Sequence[Mapping[str, Any]], task: str, truth: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Copies of the readable results on images of the ground truth.

    Args:
        results: COCO result dicts.
        task: what other tasks compare is left out.
        truth: COCO dict.
    """
    known = {image["id"] for image in truth["images"]}
    unused = _UNUSED_PARTS.get(task, ())
    found = [
        {key: value for key, value in result.items() if key not in unused}
        for result in results
        if result["image_id"] in known
    ]
    kept = readable(found)
    for result in kept:
        if isinstance(result.get("segmentation"), dict):
            result["segmentation"] = rle.compressed(result["segmentation"])
    return kept


def readable(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results that compiled code and JSON can hold; a warning says how many are left out."""
    kept = [result for result in results if _is_readable(result)]
    if len(kept) < len(results):
        logger.warning(
            "%d predictions have numbers that are not finite, or broken masks; they are left out.",
            len(results) - len(kept),
        )
    return kept


def _is_readable(result: Mapping[str, Any]) -> bool:
    """Whether the numbers of a result are finite and its mask, if any, is a run-length code."""
    try:
        if isinstance(result.get("segmentation"), dict):
            rle.compressed(result["segmentation"])
        numbers = sum(result.get("bbox", ())) + sum(result.get("keypoints", ()))
        return math.isfinite(numbers + result["score"])
    except (TypeError, ValueError, KeyError, OverflowError):
        return False


def with_upright_box(annotation: dict[str, Any]) -> dict[str, Any]:
    """An object whose rotated box, if it has one, became the upright one around it."""
    if len(annotation["bbox"]) != 5:
        return annotation
    x0, y0, x1, y1 = BoxMode.convert(annotation["bbox"], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    return {**annotation, "bbox": [x0, y0, x1 - x0, y1 - y0]}


@dataclass(frozen=True)
class Ids:
    """The ids that numbers stand for during an evaluation."""

    images: dict[int, Any]
    categories: dict[int, Any]


def numbers_in_place_of_ids(truth: dict[str, Any], results: Sequence[dict[str, Any]]) -> Ids | None:
    """Number images and categories in place, unless all ids are whole numbers from 0 already.

    Engines sort ids and hold them as numbers, so that text, or both together, stops them.

    Returns:
        The ids by their numbers, which are in the order of the truth; None if nothing changed.
    """
    ids = [[entry["id"] for entry in truth[key]] for key in ("images", "categories")]
    if all(type(i) is int and 0 <= i < _LARGEST_ID for of_kind in ids for i in of_kind):
        return None
    images, categories = ({known: n for n, known in enumerate(of_kind, 1)} for of_kind in ids)
    truth["images"] = [
        {**image, "id": images[image["id"]], **_numbered_lists(image, categories)}
        for image in truth["images"]
    ]
    truth["categories"] = [{**c, "id": categories[c["id"]]} for c in truth["categories"]]
    for entry in (*truth["annotations"], *results):
        entry["image_id"] = images[entry["image_id"]]
        # A number that no category has: such a result matches nothing.
        entry["category_id"] = categories.get(entry["category_id"], 0)
    return Ids({n: i for i, n in images.items()}, {n: i for i, n in categories.items()})


def _numbered_lists(image: Mapping[str, Any], categories: Mapping[Any, int]) -> dict[str, Any]:
    """LVIS' lists of categories of an image, by their numbers."""
    names = ("not_exhaustive_category_ids", "neg_category_ids")
    return {
        name: [categories[i] for i in map(as_id, image[name]) if i in categories]
        for name in names
        if name in image
    }


def plain_image_id(image: Mapping[str, Any]) -> int | str:
    """The image's id as JSON can hold it."""
    number = as_id(image.get("image_id"))
    if number is None:
        raise DataError(
            f"The image {image.get('file_name')} came to the evaluator with image_id "
            f"{image.get('image_id')!r}; expected a whole number or text."
        )
    return number
