"""Files that are written for each image: drawing, crops, and datasets of one file an image."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.converting import WRITERS, LabelledSet
from d2lite.data.converting.image_copies import place_image
from d2lite.data.converting.writers import image_folder
from d2lite.structures import BoxMode
from d2lite.utils.errors import OutputError

from ..drawing import write_picture
from ..found import Found
from ..result import Result

SPLIT = "predictions"
# Formats that Pillow and the visualizer write; other images are drawn as PNG.
_DRAWN = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def drawing_name(stem: str, source: str) -> str:
    """File name of a drawing: the image's own, or PNG where the format cannot be written.

    Args:
        stem: of the outputs of the image.
        source: of the image.
    """
    suffix = Path(source).suffix
    return stem + (suffix if suffix.lower() in _DRAWN and "://" not in source else ".png")


def save_crops(result: Result, folder: Path, stem: str) -> None:
    """CLASS/STEM_NUMBER.png below a folder: what is inside of each box."""
    assert result.image is not None
    height, width = result.size
    for number, found in enumerate(result):
        x0, y0 = (max(int(edge), 0) for edge in found.box[:2])
        # A rotated box may be outside; a negative index would count from the other side.
        x1, y1 = (max(int(np.ceil(edge)), 0) for edge in found.box[2:])
        crop = result.image[y0 : min(y1, height), x0 : min(x1, width)]
        if crop.size:
            home = folder / re.sub(r"[^\w. -]+", "_", found.name)
            write_picture(np.ascontiguousarray(crop), home / f"{stem}_{number}.png")


def dataset_object(found: Found, size: tuple[int, int], *, as_outline: bool) -> dict[str, Any]:
    """One object of a dataset dict.

    Args:
        found: the object.
        size: (height, width) of the image.
        as_outline: trace the mask; else it stays a run-length code.
    """
    entry: dict[str, Any] = {
        "bbox": list(found.box),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": found.class_id,
        "iscrowd": 0,
    }
    if found.rotated_box is not None:
        entry["bbox"], entry["bbox_mode"] = found.rotated_box.tolist(), BoxMode.XYWHA_ABS
    if found.mask is not None and found.mask.area:
        entry["segmentation"] = found.mask.to_rle(*size)
        if as_outline:
            entry["segmentation"] = found.mask.outlines()
    if found.keypoints is not None:
        points = np.array(found.keypoints, dtype=np.float64)
        points[:, 2] = 2
        entry["keypoints"] = points.reshape(-1).tolist()
    return entry


def save_in_dataset(
    kind: str,
    result: Result,
    names: Sequence[str],
    folder: Path,
    stem: str,
    image_mode: str,
    lost: Counter[str],
) -> str:
    """Write the files of one image in the format of a dataset, and the image beside them.

    Args:
        kind: "yolo", "labelme" or "masks".
        result: of the image.
        names: of the classes.
        folder: of the dataset.
        stem: of the files.
        image_mode: "link", which copies where the system has no links, or "copy".
        lost: what the format cannot hold is counted here.

    Returns:
        The dataset string that reads all images that were written there.
    """
    # LabelMe's outlines can be corrected point by point, its masks cannot.
    objects = [dataset_object(f, result.size, as_outline=kind != "masks") for f in result]
    size = {"height": result.size[0], "width": result.size[1]}
    data = LabelledSet(
        list(names),
        [{"file_name": result.path, **size, "annotations": objects}],
        list(range(1, len(names) + 1)),
        list(result.metadata.get("keypoint_names") or ()),
    )
    suffix = Path(result.path).suffix if "://" not in result.path else ""
    name = stem + (suffix or ".png")
    _place(result, folder / image_folder(kind, SPLIT) / name, image_mode)
    return WRITERS[kind](data, [name], folder, SPLIT, lost)


def _place(result: Result, target: Path, mode: str) -> None:
    if not Path(result.path).is_file():
        # From an address or drawn: only the pixels are here.
        assert result.image is not None
        write_picture(result.image, target.with_suffix(".png"))
        return
    try:
        place_image(result.path, target, mode)
    except OutputError:
        if mode == "copy":
            raise
        place_image(result.path, target, "copy")


def save_label_map(segment_map: np.ndarray, path: Path) -> None:
    """A map of segments or classes as PNG of 8 or 16 bits.

    Args:
        segment_map: (H, W) numbers of 0 to 65,535.
        path: of the file.
    """
    kind = np.uint8 if segment_map.max(initial=0) < 256 else np.uint16
    write_picture(np.asarray(Image.fromarray(segment_map.clip(0).astype(kind))), path)
