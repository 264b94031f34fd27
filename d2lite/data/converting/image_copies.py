"""The images of a converted dataset: their names, and the files themselves."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import ConfigError, MissingFileError, OutputError

IMAGE_MODES = ("copy", "link")
# As Python shows such bytes of file names.
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def unique_names(records: Iterable[dict[str, Any]], taken: set[str]) -> list[str]:
    """A file name for each image, no two of which differ in nothing but case or ending.

    Args:
        records: dataset dicts.
        taken: stems, in lower case, that are used already; the new ones are added.

    Returns:
        The images' own names; from the second of a kind on with a number, and with _ for bytes
        that are not UTF-8, which no format of annotations holds.
    """
    names = []
    for record in records:
        path = Path(_NOT_UTF8.sub("_", str(record["file_name"]).rpartition("://")[2]))
        # Images that are drawn on the fly have no ending.
        suffix = path.suffix if "://" not in str(record["file_name"]) else ".png"
        stem, number = path.stem, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(stem.lower())
        names.append(f"{stem}{suffix}")
    return names


def place_image(source: str, target: Path, mode: str) -> None:
    """Put an image where a converted dataset wants it.

    Args:
        source: a path, or `SCHEME://...` of images that are drawn.
        target: the file; it is overwritten.
        mode: "copy" or "link" (a symbolic link; drawn images are written in any case).

    Raises:
        ConfigError: for another mode.
        MissingFileError: if there is no such image.
        OutputError: if it cannot be written.
    """
    if mode not in IMAGE_MODES:
        raise ConfigError(f"--images is {mode!r}; choose one of {', '.join(IMAGE_MODES)}.")
    is_drawn = "://" in source
    if not is_drawn and not os.path.isfile(source):
        raise MissingFileError(
            f"There is no image file {source}. Find all that is missing with "
            "`d2lite data check`; its --fix writes a copy without."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not is_drawn and target.samefile(source):
            return
        target.unlink(missing_ok=True)
        with _nothing_half_left(target):
            if is_drawn:
                Image.fromarray(read_image(source, "RGB")).save(target)
            elif mode == "copy":
                shutil.copyfile(source, target)
            else:
                target.symlink_to(os.path.abspath(source))
    except OSError as err:
        raise OutputError(f"Cannot write {target}: {err.strerror or err}.") from err


@contextmanager
def _nothing_half_left(target: Path) -> Iterator[None]:
    """Take away what a full disk or Ctrl-C cut off; atomic_write would wait for each disk write."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
