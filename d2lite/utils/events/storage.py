"""EventStorage: the scalars, images and histograms that a run reports, each with its iteration.

Numbers that are on an accelerator stay there until somebody reads: fetching one makes the host
wait for all the work queued before it, so the storage fetches a whole logging period at once.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from d2lite.utils.errors import DataError, StateError, UnknownNameError

from .history import History

Scalar: TypeAlias = float | int | np.number | np.ndarray | Tensor

# Bounds on what waits for a reader that may never come (a run without any writer).
_MAX_UNREAD_SCALARS = 10_000
_MAX_UNREAD_IMAGES = 256

# How fast this machine is now says nothing about a resumed run, which measures again.
_OF_THE_MACHINE = frozenset({"time", "data_time", "eta_seconds"})

_CURRENT_STORAGE_STACK: list["EventStorage"] = []


class LoggedImage(NamedTuple):
    """A picture that waits for a writer: (C, H, W), uint8 in 0..255 or float in 0..1."""

    name: str
    image: Tensor | np.ndarray
    iteration: int


class _Unread(NamedTuple):
    name: str
    value: float | Tensor
    iteration: int


class EventStorage:
    """What happened in a run, by name and iteration; the newest `with` block is the active one.

    >>> with EventStorage(start_iter=10) as storage:
    ...     storage.put_scalar("loss", 0.5)
    >>> storage.latest()
    {'loss': (0.5, 10)}

    Attributes:
        start_iter: iteration that the first values belong to.
        resumed_after: up to this iteration, an earlier part of the run has written its scalars
            into its files; -1 in a new run.
        written_until: up to this iteration, writers have taken the scalars.
    """

    def __init__(self, start_iter: int = 0) -> None:
        """Begin an empty storage.

        Args:
            start_iter: iteration that the first values belong to; that of a resumed run is > 0.
        """
        self.start_iter = start_iter
        self.resumed_after = self.written_until = start_iter - 1
        self._iter = start_iter
        self._prefix = ""
        self._unread: list[_Unread] = []
        self._histories: dict[str, History] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._smoothing_hints: dict[str, bool] = {}
        self._images: deque[LoggedImage] = deque(maxlen=_MAX_UNREAD_IMAGES)
        self._histograms: deque[dict[str, Any]] = deque(maxlen=_MAX_UNREAD_IMAGES)

    def __enter__(self) -> "EventStorage":
        """Become the active storage until the block is left."""
        _CURRENT_STORAGE_STACK.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Hand back to the storage that was active before."""
        if not _CURRENT_STORAGE_STACK or _CURRENT_STORAGE_STACK[-1] is not self:
            raise StateError(
                "EventStorage blocks were left out of order; leave the innermost `with` first."
            )
        _CURRENT_STORAGE_STACK.pop()

    @property
    def iter(self) -> int:
        """The iteration that values put now belong to; may be set."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """Another name of `iter`."""
        return self._iter

    def step(self) -> None:
        """Go on to the next iteration."""
        self._iter += 1

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Inside, every name put is prefixed with `name` and a slash."""
        outer, self._prefix = self._prefix, f"{self._prefix}{name.rstrip('/')}/"
        try:
            yield
        finally:
            self._prefix = outer

    def put_scalar(
        self,
        name: str,
        value: Scalar,
        smoothing_hint: bool = True,
        cur_iter: int | None = None,
    ) -> None:
        """Record one number.

        Args:
            name: prefixed with the scopes that are open.
            value: a number or a tensor of one element on any device; a tensor is copied, so later
                changes in place don't reach the record, and is fetched only when somebody reads.
            smoothing_hint: whether a reader should show the median of a window rather than this
                very value: True for noisy numbers such as losses, False for learning rates and
                results. The last hint given for a name counts.
            cur_iter: the iteration of the value; the storage's own if None.

        Raises:
            DataError: if `value` has not exactly one element.
        """
        name = self._prefix + name
        value = value.detach() if isinstance(value, Tensor) else np.asarray(value)
        if math.prod(value.shape) != 1:
            raise DataError(
                f"Scalar '{name}' got a value of shape {tuple(value.shape)}. "
                "Reduce it to one number first, for instance with .mean()."
            )
        kept: float | Tensor
        if isinstance(value, Tensor) and value.device.type != "cpu":
            kept = value.reshape(()).clone()
        else:
            kept = float(value.item())
        iteration = self._iter if cur_iter is None else int(cur_iter)
        self._smoothing_hints[name] = smoothing_hint
        self._unread.append(_Unread(name, kept, iteration))
        if len(self._unread) >= _MAX_UNREAD_SCALARS:
            self._read()

    def put_scalars(
        self,
        *,
        smoothing_hint: bool = True,
        cur_iter: int | None = None,
        **kwargs: Scalar,
    ) -> None:
        """Record several numbers of one iteration; see `put_scalar`."""
        here = {
            name: value.detach()
            for name, value in kwargs.items()
            if isinstance(value, Tensor) and value.device.type == "cpu" and not value.dim()
        }
        # One by one, each would be read by a call of its own.
        values = kwargs | dict(zip(here, _fetch(list(here.values())), strict=True))
        for name, value in values.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def put_image(self, img_name: str, img_tensor: Tensor | np.ndarray) -> None:
        """Keep a picture for the writers that show pictures.

        Args:
            img_name: prefixed with the scopes that are open.
            img_tensor: (C, H, W), uint8 in 0..255 or float in 0..1, RGB.
        """
        image = img_tensor.detach() if isinstance(img_tensor, Tensor) else img_tensor
        self._images.append(LoggedImage(self._prefix + img_name, image, self._iter))

    def put_histogram(self, hist_name: str, hist_tensor: Tensor, bins: int = 1000) -> None:
        """Count the values of a tensor in equal bins, for the writers that show histograms.

        Args:
            hist_name: prefixed with the scopes that are open.
            hist_tensor: any shape and number type, at least one element, all finite.
            bins: number of bins between the smallest and the largest value.
        """
        values = hist_tensor.detach().float().flatten().cpu()
        if values.numel() == 0 or not bool(values.isfinite().all()):
            raise DataError(
                f"Histogram '{self._prefix + hist_name}' got a tensor of {values.numel()} values "
                "that is empty or holds NaN or infinity; only finite values can be counted."
            )
        low, high = float(values.min()), float(values.max())
        self._histograms.append(
            {
                "tag": self._prefix + hist_name,
                "min": low,
                "max": high,
                "num": values.numel(),
                "sum": float(values.sum()),
                "sum_squares": float(values.square().sum()),
                "bucket_limits": torch.linspace(low, high, bins + 1)[1:].tolist(),
                "bucket_counts": torch.histc(values, bins=bins).tolist(),
                "global_step": self._iter,
            }
        )

    @property
    def _vis_data(self) -> list[LoggedImage]:
        """The pictures, under the name that writers of others read."""
        return list(self._images)

    @property
    def _history(self) -> dict[str, History]:
        """`histories()`, under the name that hooks and loggers of others read."""
        return self.histories()

    @property
    def _latest_scalars(self) -> dict[str, tuple[float, int]]:
        """`latest()`, likewise."""
        return self.latest()

    @property
    def images(self) -> tuple[LoggedImage, ...]:
        """The pictures put since the last `clear_images`, oldest first."""
        return tuple(self._images)

    @property
    def histograms(self) -> tuple[dict[str, Any], ...]:
        """The histograms put since the last `clear_histograms`, as TensorBoard takes them."""
        return tuple(self._histograms)

    def clear_images(self) -> None:
        """Forget the pictures; a writer calls this after it has written them."""
        self._images.clear()

    def clear_histograms(self) -> None:
        """Forget the histograms; a writer calls this after it has written them."""
        self._histograms.clear()

    def history(self, name: str) -> History:
        """All values of one scalar.

        Raises:
            UnknownNameError: if nothing was ever put under that name.
        """
        self._read()
        try:
            return self._histories[name]
        except KeyError:
            known = ", ".join(sorted(self._histories)) or "none yet"
            raise UnknownNameError(
                f"No scalar '{name}' was logged in this run; logged so far: {known}."
            ) from None

    def histories(self) -> dict[str, History]:
        """All values of all scalars, by name."""
        self._read()
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """The newest (value, iteration) of each scalar."""
        self._read()
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """What to show of each scalar: (value, iteration of the newest value).

        The value is the median of the last `window_size` iterations where smoothing was hinted,
        else the newest one.
        """
        return {
            name: (
                float(self._histories[name].median(self.count_samples(name, window_size)))
                if self._smoothing_hints[name]
                else value,
                iteration,
            )
            for name, (value, iteration) in self.latest().items()
        }

    def smoothing_hints(self) -> dict[str, bool]:
        """Whether each scalar should be smoothed, by name."""
        return self._smoothing_hints

    def state_dict(self, window_size: int = 20) -> dict[str, Any]:
        """What a resumed run needs to write the lines that this one would have written.

        Args:
            window_size: iterations of each scalar that are kept.

        Returns:
            Plain values: up to where writers have taken scalars, and the newest of each.
        """
        scalars = {}
        for name, history in self.histories().items():
            if name in _OF_THE_MACHINE:
                continue
            newest = history.values()[-self.count_samples(name, window_size) :]
            scalars[name] = {
                "values": [float(value) for value, _ in newest],
                "iterations": [int(iteration) for _, iteration in newest],
                "smoothing_hint": self._smoothing_hints[name],
            }
        return {"written_until": self.written_until, "scalars": scalars}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; nothing changes where it is empty."""
        self.resumed_after = self.written_until = int(
            state.get("written_until", self.resumed_after)
        )
        for name, kept in state.get("scalars", {}).items():
            for value, iteration in zip(kept["values"], kept["iterations"], strict=True):
                hint = bool(kept["smoothing_hint"])
                self.put_scalar(name, float(value), hint, cur_iter=iteration)

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many values of a scalar belong to its last `window_size` iterations.

        It is less than the window for scalars that are put now and then, and more for those put
        several times an iteration.
        """
        values = self.history(name).values()
        first = values[-1][1] - window_size + 1
        # From the newest backwards: the window is short, the history may be long.
        return sum(1 for _ in takewhile(lambda pair: pair[1] >= first, reversed(values)))

    def _read(self) -> None:
        """Move what waits into the histories, with one transfer per device and number type."""
        if not self._unread:
            return
        unread, self._unread = self._unread, []
        for name, value, iteration in zip(
            (entry.name for entry in unread),
            _fetch([entry.value for entry in unread]),
            (entry.iteration for entry in unread),
            strict=True,
        ):
            self._histories.setdefault(name, History()).update(value, iteration)
            self._latest[name] = (value, iteration)


def _fetch(values: list[float | Tensor]) -> list[float]:
    """Bring scalars to the host; tensors of one device and kind travel together."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, value in enumerate(values):
        if isinstance(value, Tensor):
            # Half precision would be rounded again by the stack; integers need all their bits.
            dtype = value.dtype if value.dtype == torch.float64 else torch.float32
            dtype = dtype if value.is_floating_point() else torch.int64
            groups.setdefault((value.device, dtype), []).append(i)
    fetched = list(values)
    for (_, dtype), places in groups.items():
        packed = torch.stack([torch.as_tensor(values[i]).to(dtype) for i in places])
        for i, number in zip(places, packed.tolist(), strict=True):
            fetched[i] = float(number)
    return [float(value) for value in fetched]


def get_event_storage() -> EventStorage:
    """The active storage.

    Raises:
        StateError: if there is none; where that is fine, use `has_event_storage` or
            `log_scalars`.
    """
    if not _CURRENT_STORAGE_STACK:
        raise StateError(
            "No EventStorage is active. Run this inside `with EventStorage(start_iter):`, as a "
            "trainer does, or use log_scalars(), which is silent without one."
        )
    return _CURRENT_STORAGE_STACK[-1]


def has_event_storage() -> bool:
    """Whether a storage is active."""
    return bool(_CURRENT_STORAGE_STACK)


def log_scalars(
    scalars: Mapping[str, Scalar] | None = None,
    /,
    *,
    smoothing_hint: bool = True,
    **named: Scalar,
) -> None:
    """Put scalars into the active storage; do nothing where none is active.

    Models report through this, so that they can be called by hand. Names with a slash go in as
    `log_scalars({"rpn/num_pos_anchors": n})`.
    """
    if _CURRENT_STORAGE_STACK:
        values: dict[str, Any] = {**(scalars or {}), **named}
        storage = _CURRENT_STORAGE_STACK[-1]
        storage.put_scalars(smoothing_hint=smoothing_hint, cur_iter=None, **values)


def log_image(name: str, fn: Callable[[], Tensor | np.ndarray]) -> None:
    """Put the picture that `fn` draws into the active storage; without one, don't even draw.

    Args:
        name: name of the picture.
        fn: returns (C, H, W), uint8 in 0..255 or float in 0..1, RGB.
    """
    if _CURRENT_STORAGE_STACK:
        _CURRENT_STORAGE_STACK[-1].put_image(name, fn())
