"""Where the built-in datasets are, and reading a file that may be missing."""

import json
import os
from pathlib import Path
from typing import Any

from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager
from d2lite.utils.garbage_collection import paused_garbage_collection

from .label_files import decode, no_json

_VARIABLES = ("D2LITE_DATASETS", "DETECTRON2_DATASETS")

_SITES = {
    "ade": "ADE20K: sceneparsing.csail.mit.edu (Scene Parsing Benchmark)",
    "cityscapes": "Cityscapes: cityscapes-dataset.com (leftImg8bit, gtFine)",
    "coco": "COCO: cocodataset.org (Dataset, Download)",
    "lvis": "LVIS: lvisdataset.org (its images are those of COCO)",
    "voc20": "Pascal VOC: host.robots.ox.ac.uk/pascal/VOC",
}

# Beginning of a path below the root -> what `d2lite data download` calls it.
_DOWNLOADS = {
    "coco/annotations/": "coco2017",
    "coco/train2017": "coco2017",
    "coco/val2017": "coco2017",
    "coco/train2014": "coco2014",
    "coco/val2014": "coco2014",
    "lvis/lvis_v1": "lvis",
    "voc2007": "voc2007",
    "voc2012": "voc2012",
    "bccd": "bccd",
}


def datasets_root() -> str:
    """The folder of the built-in datasets, by the environment as it is now."""
    for variable in _VARIABLES:
        if os.environ.get(variable):
            return os.path.expanduser(os.environ[variable])
    return "datasets"


def below_root(root: str | None, *parts: str) -> str:
    """A path below the given folder; where that is None, below the one of the environment now."""
    return os.path.join(datasets_root() if root is None else root, *parts)


def may_enter(folder: str | os.PathLike[str]) -> bool:
    """Whether this user may reach what is in a folder."""
    # The rights of the user that the program runs as, where the system can tell.
    return os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def barred(path: str | os.PathLike[str]) -> MissingFileError | None:
    """The error for what is in a folder that this user may not enter, and so seems not to exist.

    Args:
        path: of the local file system.

    Returns:
        The error, which names that folder; None where the user may enter all above.
    """
    try:
        os.stat(path)
    except PermissionError as err:
        closed = (f for f in reversed(Path(os.path.abspath(path)).parents) if not may_enter(f))
        error = MissingFileError(
            f"{os.fspath(path)} cannot be reached: this user may not enter "
            f"{next(closed, 'its folder')}. Give yourself the right to, or name another place."
        )
        error.__cause__ = err
        return error
    except (OSError, ValueError):
        pass
    return None


def missing_file(what: str, path: str | os.PathLike[str]) -> MissingFileError:
    """The error for a dataset's file that is not there.

    Args:
        what: the kind of thing looked for, as in "COCO annotations".
        path: where it was looked for.
    """
    full = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if closed := barred(full):
        return closed
    text = f"The {what} {os.fspath(path)} do not exist (looked for {full}). "
    root = os.path.abspath(datasets_root())
    if not full.startswith(root + os.sep):
        return MissingFileError(text + "Correct the path.")
    variable = next((v for v in _VARIABLES if os.environ.get(v)), None)
    setting = f"${variable} is {root}" if variable else f"none is set, so it is {root}"
    below = os.path.relpath(full, root).lower()
    site = next((site for key, site in _SITES.items() if below.startswith(key)), None)
    get = f" Get the data from {site}." if site else ""
    download = next((name for begin, name in _DOWNLOADS.items() if below.startswith(begin)), None)
    if download == "coco2017" and "2014" in below:
        download = "coco2014"
    if download and "minusminival" not in below and "minival" not in below:
        get = f" Fetch the data with `d2lite data download {download}`" + (
            f", or from {site}." if site else "."
        )
    return MissingFileError(
        f"{text}Built-in datasets are under the folder that ${_VARIABLES[0]} or ${_VARIABLES[1]} "
        f"names, else under ./datasets ({setting}).{get} Then set {_VARIABLES[0]} to the "
        f"folder that holds {os.path.relpath(full, root)}."
    )


def read_json(what: str, path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file of annotations, in any encoding that `decode` knows.

    Args:
        what: the kind of thing in it, for the message of a missing file.
        path: of the file; may be an address that `PathManager` knows.

    Raises:
        MissingFileError: if the file is not there or may not be read.
        DataError: if it is not a file, or not JSON.
    """
    try:
        # No name holds bytes or text while they are parsed, which saves their memory.
        with paused_garbage_collection():
            return json.loads(decode(_read_bytes(what, path)))
    except DataError:
        raise
    except (ValueError, RecursionError) as err:
        raise no_json(path, err, _read_bytes(what, path)) from err


def _read_bytes(what: str, path: str | os.PathLike[str]) -> bytes:
    try:
        place = Path(PathManager.get_local_path(os.fspath(path)))
        if place.exists() and not place.is_file():
            raise DataError(f"{path} is not a file; name the JSON file with the {what}.")
        return place.read_bytes()
    except FileNotFoundError as err:
        raise missing_file(what, path) from err
    except OSError as err:
        raise MissingFileError(f"{path} cannot be read: {err.strerror or err}.") from err
