"""Seconds of named phases, and sides that are measured in turns."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["PhaseClock", "Side", "measure", "spread_of"]


class PhaseClock:
    """Adds up the seconds of the phases of a step; an accelerator finishes within its phase.

    The time of a phase inside another does not count for the outer one.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Begin with no phase."""
        self._is_cuda = torch.device(device).type == "cuda"
        self.seconds: dict[str, float] = {}
        self._spent_inside: list[float] = []  # of each phase that is open

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Inside, time counts for a phase."""
        self._wait()
        started = time.perf_counter()
        self._spent_inside.append(0.0)
        try:
            yield
        finally:
            self._wait()
            spent = time.perf_counter() - started
            own = spent - self._spent_inside.pop()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + own
            if self._spent_inside:
                self._spent_inside[-1] += spent

    def timed(self, phase: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time counts for a phase."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self(phase):
                return action(*args, **kwargs)

        return run

    def take(self) -> dict[str, float]:
        """The seconds since the last call of this."""
        taken, self.seconds = self.seconds, {}
        return taken

    def _wait(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()


@dataclass
class Side:
    """One of the programs that are measured.

    Attributes:
        name: such as "d2lite".
        step: does the work once and returns the seconds of its phases.
        samples: phase -> seconds of each measured step; "whole" is their sum.
        facts: further numbers by name, such as the peak of memory.
    """

    name: str
    step: Callable[[], Mapping[str, float]]
    samples: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)

    def median(self, phase: str = "whole") -> float:
        """Median of a phase, in seconds."""
        return statistics.median(self.samples[phase])


def measure(sides: Sequence[Side], *, warmup: int, repeats: int) -> None:
    """Run the sides in turns (A B A B), so that a busy machine slows all of them.

    Args:
        sides: their samples are filled.
        warmup: rounds that are not counted.
        repeats: rounds that are.
    """
    for number in range(warmup + repeats):
        for side in sides:
            seconds = dict(side.step())
            if number < warmup:
                continue
            if len(seconds) > 1:
                seconds["whole"] = sum(seconds.values())
            elif "whole" not in seconds:
                seconds = {"whole": sum(seconds.values())}
            for phase, value in seconds.items():
                side.samples.setdefault(phase, []).append(value)


def spread_of(samples: Sequence[float]) -> float:
    """Half the distance between the quartiles; 0 for a single sample."""
    if len(samples) < 2:
        return 0.0
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2
