"""find_inputs: the images and videos that the words of a command line mean."""

import glob
import io
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from d2lite.data import DatasetCatalog
from d2lite.data.datasets.image_finder import IMAGE_ENDINGS, files_below, unread_images
from d2lite.data.images.image_io import register_image_source
from d2lite.utils.errors import DataError, MissingFileError

from .images import as_image

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Input", "find_inputs", "is_many"]

IMAGE_SUFFIXES = set(IMAGE_ENDINGS)
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}
# Addresses of network cameras, which OpenCV opens by itself.
LIVE_PREFIXES = ("rtmp://", "rtsp://")
# How image files begin; a list of paths begins with other characters.
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"RIFF")


@dataclass(frozen=True)
class Input:
    """One image or video.

    Attributes:
        name: path, address or number of a camera.
        is_video: whether it has frames.
    """

    name: str
    is_video: bool = False

    @classmethod
    def named(cls, name: str) -> "Input":
        """An image, or a video where the name says so."""
        suffix = Path(name.partition("?")[0] if "://" in name else name).suffix.lower()
        is_live = name.startswith(LIVE_PREFIXES)
        return cls(name, is_video=is_live or suffix in VIDEO_SUFFIXES)

    @property
    def is_camera(self) -> bool:
        """Whether the frames come from a camera."""
        return self.is_video and self.name.isdecimal()


def find_inputs(words: Iterable[str], stdin: BinaryIO | None = None) -> list[Input]:
    """All images and videos, sorted within each word.

    Args:
        words: files, folders, globs, addresses, names of datasets, the number of a camera, or
            "-" for standard input: one image, or a path on each line.
        stdin: read for "-"; None is standard input.

    Raises:
        MissingFileError: if a word means nothing; all words are looked at first.
    """
    found: list[Input] = []
    for word in words:
        found += _inputs_of(word, stdin)
    return found


def is_many(word: str) -> bool:
    """Whether a word means a folder, a glob, a video or a camera rather than one image."""
    path = Path(word)
    if path.is_file() or "://" in word:
        return Input.named(word).is_video
    return path.is_dir() or word.isdecimal() or glob.has_magic(word)


def _inputs_of(word: str, stdin: BinaryIO | None) -> list[Input]:
    path = Path(word)
    if not word:
        raise MissingFileError("An input is an empty word; name a file or a folder.")
    if word == "-":
        return _from_stream(sys.stdin.buffer if stdin is None else stdin)
    if word.isdecimal() and not path.exists():
        return [Input(word, is_video=True)]
    if "://" in word or path.is_file():
        names = [word]
    elif path.is_dir():
        kinds = IMAGE_SUFFIXES | VIDEO_SUFFIXES
        names = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in kinds)
        if not names:  # labelling tools put the images into a folder below
            below = sorted(p for p in files_below(path) if p.suffix.lower() in kinds)
            names = [str(p) for p in below] if len({p.parent for p in below}) == 1 else []
    elif word in DatasetCatalog:
        names = [str(record["file_name"]) for record in DatasetCatalog.get(word)]
    else:
        names = sorted(n for n in glob.glob(word, recursive=True) if Path(n).is_file())
    if not names:
        raise _nothing_in(word)
    return [Input.named(name) for name in names]


def _nothing_in(word: str) -> MissingFileError:
    kinds = " ".join(sorted(IMAGE_SUFFIXES))
    if not Path(word).is_dir():
        return MissingFileError(
            f"{word}: there is no such file, folder or dataset, and no file fits it as a "
            "glob. Quote a glob, so that the shell passes it unchanged."
        )
    files = list(files_below(Path(word)))
    found = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    folders = Counter(str(path.parent) for path in found)
    text = f"{word}: there are no images ({kinds}) directly in this folder."
    hints = [unread_images(files)]
    if found:
        below = " or ".join(f"{name} (images: {count})" for name, count in folders.most_common(3))
        every = f'"{Path(word)}/**/*{found[0].suffix}"'
        hints.append(f"Give {below}, or all files below it: {every}.")
    return MissingFileError(" ".join([text, *filter(None, hints)]))


def _from_stream(stream: BinaryIO) -> list[Input]:
    content = stream.read()
    if content.startswith(_IMAGE_STARTS):
        try:
            with Image.open(io.BytesIO(content)) as image:
                pixels = as_image(image, "RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"standard input: cannot decode the image: {error}") from error
        register_image_source("stdin", lambda name: pixels)
        return [Input("stdin://image")]
    text = content.decode("utf-8", "surrogateescape")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise MissingFileError("-: standard input has neither an image nor any path.")
    return [Input.named(name) for name in names]
