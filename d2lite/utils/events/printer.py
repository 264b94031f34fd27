"""CommonMetricPrinter: the progress of a training, for a person who watches or reads the log."""

import datetime
import logging
import sys
import time

import torch

from d2lite.utils.live_line import live_line, on_terminal

from .storage import EventStorage, get_event_storage
from .writers import EventWriter

try:
    import resource
except ImportError:  # Windows has no such module: the CPU's memory is left out there.
    resource = None  # type: ignore[assignment]

# The name of the package: this module's own would fill a third of each line.
_logger = logging.getLogger("d2lite.utils.events")

# A slow iteration (an evaluation, a checkpoint) must not swing the ETA.
_ETA_WINDOW = 1000


class CommonMetricPrinter(EventWriter):
    """Prints iteration, epoch, time left, losses, speed, learning rate and memory.

    Reads the scalars "epoch" (a fraction, shown if somebody puts it), "time" and "data_time"
    (seconds of an iteration), "lr", every scalar with "loss" in its name outside any scope, and
    every one with "[metric]" in its name.
    On a terminal it keeps one live line at the bottom and sends the full line to the log file
    alone; elsewhere the full line is an ordinary log message.

    Attributes:
        logger: gets the full lines.
    """

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        """Begin to measure.

        Args:
            max_iter: iteration at which training ends; without it no time left is shown.
            window_size: iterations in the medians and averages that are shown.
        """
        self.logger = _logger
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None

    def write(self) -> None:
        """Print the state of the active storage."""
        storage = get_event_storage()
        if storage.iter == self._max_iter or self._has_told(storage):
            # After training, hooks write once more for results; the progress was printed before.
            return
        fields = self._collect_fields(storage, self._get_eta(storage))
        is_shown = on_terminal()
        if is_shown:
            live_line.show(
                self._position(storage.iter) + "  " + _join(_most_telling_first(fields[1:]))
            )
        self.logger.info(_join(fields), extra={"hidden_on_console": is_shown})

    def close(self) -> None:
        """Leave the live line as it is and continue below it."""
        live_line.finish()

    def _has_told(self, storage: EventStorage) -> bool:
        """Whether the last line shows all that was put, as when a run ended early."""
        if self._last_write is None:
            return False
        put_at = [at for name, (_, at) in storage.latest().items() if "/" not in name]
        return max(put_at, default=storage.iter) <= self._last_write[0] < storage.iter

    def _collect_fields(self, storage: EventStorage, eta: str | None) -> list[tuple[str, str]]:
        shown = storage.latest_with_smoothing_hint(self._window_size)
        fields = [("iter", f"{storage.iter:>{len(str(self._max_iter or 0))}}")]
        if "epoch" in shown:
            fields.append(("epoch", f"{shown['epoch'][0]:.2f}"))
        if eta is not None:
            fields.append(("eta", eta))
        fields += [
            (name, f"{value:#.4g}")
            for name, (value, _) in shown.items()
            if ("loss" in name and "/" not in name) or "[metric]" in name
        ]
        if "lr" in shown:
            fields.append(("lr", f"{shown['lr'][0]:.5g}"))
        for name in ("time", "data_time"):
            if name in shown:
                samples = storage.count_samples(name, self._window_size)
                fields.append((name, f"{storage.history(name).avg(samples):.4f}"))
        megabytes = _peak_megabytes()
        if megabytes is not None:
            fields.append(("max_mem", f"{megabytes:.0f}M"))
        return fields

    def _position(self, iteration: int) -> str:
        done = iteration + 1
        if self._max_iter is None:
            return f"{done}"
        filled = 10 * done // self._max_iter
        return f"[{'=' * filled}{' ' * (10 - filled)}] {done}/{self._max_iter}"

    def _get_eta(self, storage: EventStorage) -> str | None:
        """The time to the end, also put as the scalar "eta_seconds"; None while unknown.

        Printers of others call it, too, as in detectron2.
        """
        now = time.perf_counter()
        last, self._last_write = self._last_write, (storage.iter, now)
        if self._max_iter is None:
            return None
        if "time" in storage.latest():
            per_iteration = float(storage.history("time").median(_ETA_WINDOW))
        elif last is not None and storage.iter > last[0]:
            per_iteration = (now - last[1]) / (storage.iter - last[0])
        else:
            return None
        seconds = per_iteration * (self._max_iter - storage.iter - 1)
        storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
        return str(datetime.timedelta(seconds=int(seconds)))


def _most_telling_first(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Parts of the loss go last: a narrow terminal cuts the line there."""
    return sorted(fields, key=lambda field: "loss" in field[0] and field[0] != "total_loss")


def _join(fields: list[tuple[str, str]]) -> str:
    return "  ".join(f"{name}: {value}" for name, value in fields)


def _peak_megabytes() -> float | None:
    """Most memory used so far: of the current GPU where one is in use, else of this process."""
    if torch.cuda.is_available() and torch.cuda.memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kilobytes, macOS bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
