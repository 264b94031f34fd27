"""The images and categories of a COCO file, whichever tool wrote it: the one place that reads them.

Training, checks, conversion and evaluation get them from here, and annotations from
coco_annotations, so that all of them know the same of a file.
"""

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from d2lite.data.normal_forms import as_id, as_side
from d2lite.data.records.faults import FaultLog
from d2lite.data.records.image_sizes import image_size
from d2lite.utils.errors import DataError, MissingFileError

from .image_finder import refuse_other_encoding
from .location import read_json

logger = logging.getLogger(__name__)


def read_coco_json(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a COCO file.

    Returns:
        The JSON object, whose "images", "categories" and "annotations" are lists; those that the
        file has not, or has as null, are missing, except for "images".

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is not a COCO file.
    """
    content = read_json("COCO annotations", json_file)
    expected = "Expected a JSON object with the lists 'images', 'annotations' and 'categories'."
    if not isinstance(content, dict) or content.get("images") is None:
        raise DataError(
            f"{json_file} is not a COCO annotation file: it has no list 'images'. {expected}"
        )
    for key in ("images", "annotations", "categories"):
        if content.get(key) is None:
            content.pop(key, None)
        elif not isinstance(content[key], list):
            raise DataError(
                f"{json_file} is not a COCO annotation file: its {key!r} is of type "
                f"{type(content[key]).__name__}. {expected}"
            )
    images = [image for image in content["images"] if isinstance(image, dict)]
    if not content.get("annotations") and any(image.get("annotations") for image in images):
        raise DataError(
            f"{json_file} has its objects in the entries of 'images', where COCO has none, and its "
            "list 'annotations' is empty. Move them there, each with the 'image_id' of its image."
        )
    for image in images:
        if not image.get("file_name") and (name := _other_name(image)):
            image["file_name"] = name
    return content


def _other_name(image: dict[str, Any]) -> str:
    """The name of an image that has no file_name, as LVIS and a few tools write it."""
    for key in ("filename", "path", "coco_url"):
        name = image.get(key)
        if isinstance(name, str) and name:
            # http://images.cocodataset.org/val2017/000000000001.jpg
            return "/".join(name.split("/")[-2:]) if "://" in name else name
    return ""


def coco_categories(content: dict[str, Any], json_file: Any) -> dict[int | str, str]:
    """Category id -> name, by ascending id, without a placeholder.

    Raises:
        DataError: if there are none, one lacks its id or name, or an id occurs twice.
    """
    found: list[tuple[int | str, str]] = []
    for place, category in enumerate(content.get("categories") or ()):
        number = as_id(category.get("id")) if isinstance(category, dict) else None
        if number is None or category.get("name") is None:
            raise DataError(
                f"{json_file}: entry {place} of 'categories' is {str(category)[:80]}; expected an "
                "object with an 'id' (a number or text) and a 'name'."
            )
        found.append((number, str(category["name"])))
    found.sort(key=_id_order)
    ids = [number for number, _ in found]
    twice = [number for number, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"{json_file} defines the category ids {twice} more than once.")
    if not ids:
        raise DataError(
            f"{json_file} has no 'categories'; expected a list of {{'id', 'name'}} objects."
        )
    if ids[0] == 0 and _is_placeholder(found[0][1], content):
        logger.info(
            "%s: left out category 0, %r: it has no objects and only groups the others, as "
            "Roboflow writes it.",
            json_file,
            found[0][1],
        )
        del found[0], ids[0]
    if ids != list(range(1, len(ids) + 1)):
        logger.info(
            "Category ids of %s run from %s to %s for %d classes; they are renumbered from 0, "
            "in ascending order.",
            json_file,
            ids[0],
            ids[-1],
            len(ids),
        )
    return dict(found)


def _id_order(item: tuple[int | str, Any]) -> tuple[bool, int | str]:
    """Numbers before texts, each in their own order."""
    return isinstance(item[0], str), item[0]


def _is_placeholder(name: str, content: dict[str, Any]) -> bool:
    """Whether category 0 stands for the group of all others and not for a class.

    A class that merely has no object in this file must keep its number.
    """
    is_group = any(
        as_id(category["id"]) != 0 and category.get("supercategory") == name
        for category in content["categories"]
    )
    return is_group and all(
        not isinstance(obj, dict) or as_id(obj.get("category_id")) != 0
        for obj in content.get("annotations", ())
    )


def coco_images(
    content: dict[str, Any],
    json_file: Any,
    faults: FaultLog,
    *,
    image_root: str | os.PathLike[str] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """The image entries by id, in ascending order.

    Args:
        content: of the file.
        json_file: for messages.
        faults: entries that cannot be used are written into it.
        image_root: folder that the file names are relative to. A size that is missing or wrong is
            read from the image there. None for those who need neither name nor size.

    Returns:
        Entries with "id" and, where there is a folder, "file_name", "height" and "width"; what else
        an entry has stays. Without a folder a wrong size is left out.
    """
    found = []
    for place, image in enumerate(content["images"]):
        number = as_id(image.get("id")) if isinstance(image, dict) else None
        if number is None:
            text = f"{json_file}: entry {place} of 'images' has no id: {str(image)[:80]}"
            faults.refuse("incomplete_image", text, DataError(f"{text}."))
            continue
        found.append((number, image))
    found.sort(key=_id_order)
    images: dict[int | str, dict[str, Any]] = {}
    ambiguous = set()
    for number, entry in found:
        image = _whole_image(number, entry, json_file, faults, image_root)
        if image is None:
            continue
        other = images.setdefault(number, image)
        if other is image:
            continue
        names = f"{other.get('file_name')} and {image.get('file_name')}"
        text = f"{json_file} has two images of id {number}: {names}. Ids must differ."
        is_same = other.get("file_name") == image.get("file_name")
        kind = "repeated_image" if is_same else "duplicate_image_id"
        faults.refuse(kind, f"id {number}: {names}", DataError(text))
        if not is_same and number not in ambiguous:
            # Whose the annotations are is not known, so both go.
            ambiguous.add(number)
            faults.lost_images += 1
    return {number: image for number, image in images.items() if number not in ambiguous}


def _whole_image(
    number: int | str,
    image: dict[str, Any],
    json_file: Any,
    faults: FaultLog,
    image_root: str | os.PathLike[str] | None,
) -> dict[str, Any] | None:
    size = [as_side(image.get(key)) for key in ("height", "width")]
    is_whole = None not in size and image["height"] is size[0] and image["width"] is size[1]
    if is_whole and type(image["id"]) is type(number):
        whole = image
    else:
        whole = {**image, "id": number, "height": size[0], "width": size[1]}
    if image_root is None:
        if None in size:
            del whole["height"], whole["width"]
        return whole
    name = image.get("file_name")
    if isinstance(name, str):
        refuse_other_encoding(name)
    if not _is_file_name(name):
        text = f"{json_file}: image {number} lacks file_name"
        faults.refuse("incomplete_image", text, DataError(f"{text}; found {name!r}."))
        return None
    if None in size:
        try:
            size = list(image_size(Path(os.path.join(image_root, str(name)))))
        except (DataError, MissingFileError) as err:
            lacking = [key for key in ("height", "width") if whole[key] is None]
            text = f"{json_file}: image {number} lacks {', '.join(lacking)}. {err}"
            faults.refuse("incomplete_image", text, DataError(text))
            return None
        whole["height"], whole["width"] = size
    return whole


def _is_file_name(name: Any) -> bool:
    try:
        return isinstance(name, str) and bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False
