"""Frames of videos and cameras, and drawn frames written as a video."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.utils.errors import DataError, OutputError
from d2lite.utils.file_io import PathManager, refuse_special_file
from d2lite.visualization.opencv import load_cv2

from .inputs import LIVE_PREFIXES, Input, find_inputs


class Video:
    """Frames of a video or camera.

    Attributes:
        frame_rate: frames in a second.
    """

    def __init__(self, source: Input) -> None:
        """Open it.

        Raises:
            DataError: if OpenCV cannot open it.
        """
        cv2 = load_cv2()
        self.name = source.name
        what: Any = int(source.name) if source.is_camera else source.name
        if "://" in source.name and not source.name.startswith(LIVE_PREFIXES):
            what = PathManager.get_local_path(source.name)
        try:
            refuse_special_file(str(what))  # OpenCV would wait for a named pipe for ever
        except OSError as error:
            raise DataError(f"{source.name} cannot be read: {error.strerror}.") from error
        if not _is_utf8(what):
            raise DataError(f"{source.name}: the video needs a name in UTF-8; rename it.")
        self._capture = cv2.VideoCapture(what)
        if not self._capture.isOpened():
            kind = "camera" if source.is_camera else "video"
            raise DataError(f"{source.name}: this {kind} cannot be opened by OpenCV.")
        self.frame_rate = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 BGR of each frame; Ctrl-C ends the frames of a camera."""
        try:
            while True:
                is_read, frame = self._capture.read()
                if not is_read:
                    return
                yield frame
        finally:
            self._capture.release()


def _is_utf8(name: str | int | Path) -> bool:
    """Whether OpenCV can take a name; it crashes at others."""
    return str(name).isascii() or str(name) == str(name).encode(errors="ignore").decode()


def images_of(words: Iterable[str]) -> Iterator[Any]:
    """Paths of the images and frames of the videos that words mean, one after the other.

    Args:
        words: see `find_inputs`.

    Yields:
        Paths, and frames as Pillow images.

    Raises:
        MissingFileError: if a word means nothing.
    """
    for one in find_inputs(words):
        if one.is_video:
            yield from (Image.fromarray(frame[:, :, ::-1]) for frame in Video(one))
        else:
            yield one.name


class VideoFile:
    """A video that is written frame by frame; see `write_video`."""

    def __init__(self, path: Path, frame_rate: float) -> None:
        self._path, self._frame_rate = path, frame_rate
        self._writer: Any = None
        self._num_frames = 0

    def add(self, picture: np.ndarray) -> None:
        """Write the next frame.

        Args:
            picture: (H, W, 3) uint8 RGB, as large as the others.
        """
        if self._writer is None:
            if not _is_utf8(self._path):
                raise OutputError(f"--output {self._path}: a video needs a name in UTF-8.")
            cv2 = load_cv2()
            size = (picture.shape[1], picture.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), code, self._frame_rate, size)
            if not self._writer.isOpened():
                raise OutputError(f"--output {self._path}: OpenCV cannot write this video.")
        self._writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
        self._num_frames += 1

    def close(self) -> bool:
        """Finish the file; whether there was any frame."""
        if self._writer is None:
            return False
        self._writer.release()
        return True

    def is_whole(self) -> bool:
        """Whether the finished file has all frames: OpenCV does not say that a disk is full."""
        cv2 = load_cv2()
        written = cv2.VideoCapture(str(self._path))
        count = written.get(cv2.CAP_PROP_FRAME_COUNT) if written.isOpened() else 0
        written.release()
        return bool(count >= self._num_frames)


@contextmanager
def write_video(path: Path, frame_rate: float) -> Iterator[VideoFile]:
    """Write a video that has its name only when it is complete.

    Args:
        path: ends in .mp4.
        frame_rate: frames in a second.

    Raises:
        OutputError: if OpenCV cannot write it, or not all of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    video = VideoFile(temporary, frame_rate)
    try:
        yield video
        if video.close():
            if not video.is_whole():
                raise OutputError(f"--output {path}: not all was written; is the disk full?")
            os.replace(temporary, path)
    finally:
        video.close()
        temporary.unlink(missing_ok=True)
