"""Writers that carry the scalars of a run to files: JSON lines and TensorBoard."""

import functools
import io
import json
import logging
import math
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from d2lite.utils.errors import OutputError
from d2lite.utils.file_io import refuse_special_file, write_file

from .storage import EventStorage, get_event_storage, has_event_storage

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_logger = logging.getLogger(__name__)


class EventWriter:
    """Somebody who reads the active storage now and then and writes down what is new."""

    def write(self) -> None:
        """Write down what the active storage has that was not written before."""
        raise NotImplementedError(f"{type(self).__name__} must define write().")

    def close(self) -> None:
        """Let go of files; called once, after the last `write`."""


class NewScalars:
    """Remembers up to which iteration the scalars of a storage were taken."""

    def __init__(self, window_size: int) -> None:
        self.window_size = window_size
        self.last_iteration: int | None = None

    def skip_until(self, iteration: int) -> None:
        """Leave out what an earlier part of the run has written, up to this iteration."""
        self.last_iteration = iteration

    def take(self, storage: EventStorage) -> dict[int, dict[str, float]]:
        """Scalars with a value newer than the last call's: iteration -> name -> value."""
        if self.last_iteration is None:
            self.last_iteration = storage.resumed_after
        by_iteration: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in storage.latest_with_smoothing_hint(
            self.window_size
        ).items():
            if iteration > self.last_iteration:
                by_iteration[iteration][name] = value
        if by_iteration:
            self.last_iteration = max(by_iteration)
            storage.written_until = max(storage.written_until, self.last_iteration)
        return dict(sorted(by_iteration.items()))


class ScalarWriter(EventWriter):
    """A writer of new scalars; a subclass with a `write` of its own has detectron2's names."""

    def __init__(self, window_size: int) -> None:
        """Begin with the first iteration; `window_size` as in the subclass."""
        self._new_scalars = NewScalars(window_size)

    @property
    def _window_size(self) -> int:
        """Iterations in the median of scalars that hint at smoothing."""
        return self._new_scalars.window_size

    @property
    def _last_write(self) -> int:
        """The last iteration whose scalars are written, -1 before the first."""
        last = self._new_scalars.last_iteration
        return -1 if last is None else last

    @_last_write.setter
    def _last_write(self, iteration: int) -> None:
        self._new_scalars.skip_until(iteration)


class JSONWriter(ScalarWriter):
    r"""One JSON object a line in a file, such as `{"iteration": 19, "lr": 0.01, ...}`.

    A number that is not finite is written as null.

    A file that is there already is continued. Lines of iterations that the run does again after a
    resume, and a line torn by a kill, are moved to `<json_file>.replaced` first, so that the file
    never holds an iteration twice and nothing is lost.
    """

    def __init__(self, json_file: str | os.PathLike[str], window_size: int = 20) -> None:
        """Make the file, if it is not there.

        Args:
            json_file: path of the file; missing folders are made.
            window_size: iterations in the median of scalars that hint at smoothing.

        Raises:
            OutputError: if the file cannot be opened.
        """
        self._path = Path(json_file)
        try:
            self._open().close()
        except OSError as err:
            raise OutputError(
                f"Cannot write metrics to {self._path}: {err.strerror}. "
                "Choose another folder with OUTPUT_DIR, or free this one."
            ) from err
        super().__init__(window_size)
        self._is_continued = False
        self._unwritten = b""

    def write(self) -> None:
        """Append one line for each iteration that has new values.

        Raises:
            OSError: if the disk does not take them, now; the next call tries again.
        """
        storage = get_event_storage()
        if not self._is_continued:
            self._set_aside_lines_from(storage.start_iter)
            self._new_scalars.skip_until(self._last_line())
            self._is_continued = True
        lines = [
            json.dumps({"iteration": iteration, **_finite_or_null(scalars)}, sort_keys=True) + "\n"
            for iteration, scalars in self._new_scalars.take(storage).items()
        ]
        # Written together: a kill now loses or tears at most what this call writes.
        self._unwritten += "".join(lines).encode()
        # Opened each time: somebody may take the folder away, and what was written to the old file
        # nobody would find.
        with self._open() as file:
            while self._unwritten:
                # A disk that fills up takes a part; the rest must follow it without a gap.
                self._unwritten = self._unwritten[file.write(self._unwritten) :]

    def _open(self) -> io.FileIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        refuse_special_file(self._path)
        return self._path.open("ab", buffering=0)

    def _last_line(self) -> int:
        """The iteration of the last line, -1 if there is none; all lines are whole."""
        return max((_iteration_of(line) for line in self._lines()), default=-1)

    def _lines(self) -> list[bytes]:
        with self._open():  # made again where somebody took it away
            return self._path.read_bytes().splitlines(keepends=True)

    def _set_aside_lines_from(self, start_iter: int) -> None:
        lines = self._lines()
        kept = [line for line in lines if _is_line_before(line, start_iter)]
        if len(kept) == len(lines):
            return
        replaced = self._path.with_name(self._path.name + ".replaced")
        refuse_special_file(replaced)
        with replaced.open("ab") as file:
            for line in lines:
                if not _is_line_before(line, start_iter):
                    file.write(line.rstrip(b"\n") + b"\n")
        write_file(self._path, b"".join(kept))
        _logger.info(
            "%s: moved %d lines to %s: those of iteration %d and later, which are run again, and "
            "those that were torn",
            self._path,
            len(lines) - len(kept),
            replaced.name,
            start_iter,
        )


def _finite_or_null(scalars: dict[str, float]) -> dict[str, float | None]:
    """The values, with None for NaN and infinity, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in scalars.items()}


def _is_line_before(line: bytes, start_iter: int) -> bool:
    """Whether a line of a metrics file is whole and not of `start_iter` or later."""
    try:
        return line.endswith(b"\n") and _iteration_of(line) < start_iter
    except ValueError:
        return False


def _iteration_of(line: bytes) -> int:
    """The iteration of a line of a metrics file; -1 if it has none.

    Raises:
        ValueError: if the line is not a JSON object.
    """
    try:
        entry = json.loads(line)
    except RecursionError as err:
        raise ValueError("too many brackets") from err
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    iteration = entry.get("iteration")
    return iteration if isinstance(iteration, int) else -1


class TensorboardXWriter(ScalarWriter):
    """Scalars, images and histograms as a TensorBoard event file."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        """Remember where to write; the file is made when it is first needed.

        Args:
            log_dir: folder of the event files.
            window_size: iterations in the median of scalars that hint at smoothing.
            kwargs: handed to `torch.utils.tensorboard.SummaryWriter`.
        """
        self._log_dir = log_dir
        self._options = kwargs
        super().__init__(window_size)

    def write(self) -> None:
        """Write new scalars, and the images and histograms, which the storage then forgets."""
        storage, writer = get_event_storage(), self._writer
        for iteration, scalars in self._new_scalars.take(storage).items():
            for name, value in scalars.items():
                writer.add_scalar(name, value, iteration)
        for name, image, iteration in storage.images:
            pixels = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
            writer.add_image(name, pixels, iteration)
        for histogram in storage.histograms:
            writer.add_histogram_raw(**histogram)
        storage.clear_images()
        storage.clear_histograms()

    def close(self) -> None:
        """Flush and close the event file."""
        if "_writer" in self.__dict__:
            self._writer.close()

    @functools.cached_property
    def _writer(self) -> "SummaryWriter":
        """Torch's writer, to which code of others writes by itself."""
        start_iter = get_event_storage().resumed_after + 1 if has_event_storage() else 0
        # Imported here because it costs a second and TensorBoard may be left out on purpose.
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as err:
            raise ImportError(
                f"TensorboardXWriter needs TensorBoard, which cannot be imported ({err}). "
                "Install it with `pip install tensorboard`, or leave this writer out of "
                "build_writers()."
            ) from err
        options = dict(self._options)
        if start_iter > 0:
            # A resumed run hides what the stopped one wrote for the iterations done again.
            options.setdefault("purge_step", start_iter)
        try:
            return SummaryWriter(self._log_dir, **options)
        except UnicodeEncodeError as err:
            raise OutputError(
                f"TensorBoard writes to folders whose names are UTF-8 only, not to {self._log_dir}"
            ) from err
