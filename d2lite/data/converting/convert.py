"""convert: datasets of any format into the files of one."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import ConfigError, DataError, OutputError

from .image_copies import place_image, unique_names
from .labelled_set import LabelledSet, load_labelled_set, merge, select, separate, split
from .object_kinds import can_hold_class, can_hold_object
from .writers import WRITERS, image_folder


def convert(
    names: Sequence[str] | Mapping[str, str],
    kind: str,
    folder: Path,
    *,
    shares: Mapping[str, float] | None = None,
    split_name: str = "train",
    seed: int = 0,
    classes: Sequence[str] | None = None,
    images: str = "copy",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, str], Counter[str]]:
    """Read datasets, join them, and write them in another format.

    Args:
        names: dataset strings or registered names; several are merged, classes by name. A
            mapping from split to dataset is written as these splits, unless there are `shares`.
        kind: "coco", "voc", "yolo", "labelme" or "masks".
        folder: where to; it must not hold a dataset already.
        shares: split -> share of the images; None writes one split.
        split_name: the name of that one.
        seed: of the draw.
        classes: keep these only, in this order.
        images: "copy" or "link".
        progress: called after each image with how many are done, and how many there are.

    Returns:
        Split -> the dataset string that reads it, and how many of what were lost.

    Raises:
        ConfigError: for an unknown kind, class or share.
        DataError: if the format cannot hold a class's name, or any of the objects.
        OutputError: if the folder has files in it, or can be none.
    """
    if kind not in WRITERS:
        raise ConfigError(f"--to is {kind!r}; choose one of {', '.join(WRITERS)}.")
    try:
        is_filled = folder.exists() and any(folder.iterdir())
    except OSError as err:
        text = f"--output {folder} cannot be used: {err.strerror}. Name a new folder."
        raise OutputError(text) from err
    if is_filled:
        raise OutputError(f"--output {folder} is not empty. Name a new folder, or empty this one.")
    listed = names.values() if isinstance(names, Mapping) else names
    lost: Counter[str] = Counter()
    sets = []
    for one in listed:
        with collecting_faults(one) as faults:
            sets.append(load_labelled_set(one))
        lost["images with faults, see `d2lite data check`"] += faults.lost_images
        lost["objects with faults, see `d2lite data check`"] += faults.lost_objects
    data = merge(sets)
    if classes is not None:
        data = select(data, classes)
    _check_fit(data, kind)
    if shares:
        parts = split(data, dict(shares), seed)
    elif isinstance(names, Mapping):
        parts = dict(zip(names, separate(data, sets), strict=True))
    else:
        parts = {split_name: data}
    taken: set[str] = set()
    strings = {}
    done, total = itertools.count(1), sum(len(part.records) for part in parts.values())

    def after_image() -> None:
        if progress is not None:
            progress(next(done), total)

    for name, part in parts.items():
        strings[name] = write_set(
            part, kind, folder, name, lost, images=images, taken=taken, after_image=after_image
        )
    return strings, +lost  # without those that are zero


def _check_fit(data: LabelledSet, kind: str) -> None:
    """Refuse what would be written and not be read back, before anything is written.

    Raises:
        DataError: if the format cannot hold a class's name, or any of the objects.
    """
    wrong = [label for label in data.classes if not can_hold_class(kind, label)]
    if wrong:
        raise DataError(
            f"--to {kind} cannot hold the class names {', '.join(map(repr, wrong))}: they are "
            "empty, have blanks around them, line breaks or characters that cannot be printed"
            f"{', or are kept for LabelMe itself (__...)' if kind == 'labelme' else ''}. Rename "
            "them in the original, leave them out by --classes, or use --to coco."
        )
    objects = [obj for record in data.records for obj in record.get("annotations", ())]
    if not data.records or (objects and not any(can_hold_object(kind, obj) for obj in objects)):
        raise DataError(
            f"Nothing would be left to convert: none of the {len(objects)} objects of "
            f"{len(data.records)} images can be written by --to {kind}."
        )


def write_set(
    data: LabelledSet,
    kind: str,
    folder: Path,
    split_name: str,
    lost: Counter[str],
    *,
    images: str = "copy",
    taken: set[str] | None = None,
    after_image: Callable[[], None] = lambda: None,
) -> str:
    """Write one split and its images.

    Args:
        data: the set.
        kind: as in `convert`.
        folder: of the dataset.
        split_name: of the split.
        lost: what the format cannot hold is counted here.
        images: "copy" or "link".
        taken: names of images that the folder has already.
        after_image: called after each.

    Returns:
        The dataset string that reads it.
    """
    names = unique_names(data.records, set() if taken is None else taken)
    home = folder / image_folder(kind, split_name)
    for name, record in zip(names, data.records, strict=True):
        place_image(str(record["file_name"]), home / name, images)
        after_image()
    return WRITERS[kind](data, names, folder, split_name, lost)
