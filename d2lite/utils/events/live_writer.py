"""LiveWriter: scalars and images to a tracking service, without a risk for the run."""

import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from d2lite.utils.errors import ConfigError, MissingPackageError
from d2lite.utils.live_process import Beginning, Report

from .storage import LoggedImage, get_event_storage
from .writers import EventWriter, NewScalars

_logger = logging.getLogger(__name__)

# Reports that wait for the service; later ones are left out.
_MOST_WAITING = 200


class LiveWriter(EventWriter):
    """Sends what is new by another process.

    A service that fails, hangs or is slow costs one warning and what could not be sent. The run
    never waits for it, but for `end_seconds` at its end.
    """

    def __init__(
        self,
        kind: str,
        output_dir: str,
        config: Mapping[str, Any],
        *,
        window_size: int = 20,
        end_seconds: float = 60.0,
    ) -> None:
        """Look for the package; the process starts with the first `write`.

        Args:
            kind: "wandb" or "mlflow".
            output_dir: where the process keeps its log and the name of the run.
            config: key -> value, shown with the run.
            window_size: iterations in the median of scalars that hint at smoothing.
            end_seconds: the longest wait for the process at the end.

        Raises:
            MissingPackageError: if the package is not installed.
            ConfigError: if MLflow has no address.
        """
        if find_spec(kind) is None:
            raise MissingPackageError(
                f"WRITERS names {kind}, which is not installed: pip install 'd2lite[live]'"
            )
        if kind == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ConfigError(
                "WRITERS names mlflow, and MLFLOW_TRACKING_URI does not say where its server is. "
                "For instance: export MLFLOW_TRACKING_URI=http://localhost:5000"
            )
        self._kind, self._folder, self._config = kind, output_dir, dict(config)
        self._log = Path(output_dir, f"{kind}.log")
        self._end_seconds = end_seconds
        self._new_scalars = NewScalars(window_size)
        self._last_image = -1
        self._waiting: queue.Queue[Any] = queue.Queue(_MOST_WAITING)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._has_warned = False

    def write(self) -> None:
        """Let the process send what is new. Images are taken before TensorBoard's writer does."""
        storage = get_event_storage()
        if self._thread is None:
            is_resumed = storage.start_iter > 0
            self._waiting.put(Beginning(self._folder, self._config, is_resumed))
            self._thread = threading.Thread(target=self._send, name=self._kind, daemon=True)
            self._thread.start()
        images = [image for image in storage.images if image.iteration > self._last_image]
        self._last_image = max([self._last_image, *(image.iteration for image in images)])
        scalars = self._new_scalars.take(storage)
        if not scalars and not images:
            return
        try:
            self._waiting.put_nowait((scalars, images))
        except queue.Full:
            self._warn("is slow or does not answer, and some numbers are not sent")

    def close(self) -> None:
        """Wait for the process, and end it if it takes too long."""
        if self._thread is None:
            return
        deadline = time.monotonic() + self._end_seconds
        with suppress(queue.Full):
            self._waiting.put(None, timeout=self._end_seconds)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._warn(f"has not taken everything within {self._end_seconds:g} s, and is left")
            if self._process is not None:
                self._process.kill()

    def _send(self) -> None:
        """Hand everything to the process; the work of the thread."""
        items = iter(self._waiting.get, None)
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._process = _start(self._kind, log)
            assert self._process.stdin is not None
            with self._process.stdin as stream:
                for item in items:
                    if not isinstance(item, Beginning):
                        scalars, images = item
                        item = Report(scalars, [_plain(image) for image in images])
                    pickle.dump(item, stream)
                    stream.flush()
            if self._process.wait():
                self._warn("has failed")
        except OSError as error:
            self._warn(f"has failed ({error.strerror})")
        # `write` must not fill the queue of a thread that has ended, nor `close` wait for it.
        for _ in items:
            pass

    def _warn(self, what: str) -> None:
        if not self._has_warned:
            _logger.warning(
                f"{self._kind} {what}; the run goes on. {self._log} has its messages, and "
                "metrics.json all numbers"
            )
        self._has_warned = True


def _start(kind: str, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "d2lite.utils.live_process", kind],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        # Ctrl-C is for the run, which then ends this process in order.
        start_new_session=True,
    )


def _plain(logged: LoggedImage) -> tuple[str, np.ndarray, int]:
    image = logged.image
    pixels = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().clip(0, 255).astype(np.uint8)
    return logged.name, np.ascontiguousarray(pixels.transpose(1, 2, 0)), logged.iteration
