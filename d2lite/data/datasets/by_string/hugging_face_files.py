"""Which files of Hugging Face `datasets` a folder has; the package is not needed for it."""

import re
from pathlib import Path

from d2lite.data.datasets.label_files import read_json

from .file_kinds import visible_below

OBJECT_KEYS = ("objects", "annotations", "faces")
"""Names of the column with the objects of an image."""

_SPLITS = ("train", "validation", "valid", "val", "test")
# The first line of a metadata.jsonl may be long.
_HEAD_BYTES = 2**20


def hugging_face_splits(folder: Path) -> list[str]:
    """The splits of a folder: tables, what `save_to_disk` wrote, images with a metadata.jsonl."""
    if tables := hugging_face_tables(folder):
        return list(tables)
    if (folder / "state.json").is_file() or _lists_objects(folder):
        return ["train"]
    file = folder / "dataset_dict.json"
    names = (read_json(file) or {}).get("splits") if file.is_file() else None
    if isinstance(names, list):
        return list(map(str, names))
    return [split for split in _SPLITS if _lists_objects(folder / split)]


def _lists_objects(folder: Path) -> bool:
    file = folder / "metadata.jsonl"
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        line = stream.readline(_HEAD_BYTES)
    return any(b'"%s"' % key.encode() in line for key in OBJECT_KEYS)


def hugging_face_tables(folder: Path) -> dict[str, list[Path]]:
    """Split -> the .parquet files of a folder; "train" where their names say none."""
    splits: dict[str, list[Path]] = {}
    for table in [folder] if folder.is_file() else visible_below(folder, ".parquet"):
        # train-00000-of-00002.parquet, or train/0000.parquet.
        names = (re.split("[-_.]", table.stem)[0], table.parent.name)
        split = next((name for name in names if name in _SPLITS), "train")
        splits.setdefault(split, []).append(table)
    return splits
