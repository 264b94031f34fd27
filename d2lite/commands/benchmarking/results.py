"""Results of `d2lite benchmark` as a Markdown table and as plain values for JSON."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from d2lite import __version__
from d2lite.utils.provenance import command_line

from .clock import Side, spread_of

__all__ = ["as_plain", "machine", "markdown"]

_PEERS = (
    *("torchvision", "transformers", "detectron2", "onnxruntime", "openvino"),
    *("pycocotools", "hotcoco"),
)


def machine() -> dict[str, str]:
    """The machine and the versions, without names of hosts or users."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    found = {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "gpu": gpu,
        "python": platform.python_version(),
        "d2lite": __version__,
        "torch": torch.__version__,
    }
    for name in _PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
            return next(names, platform.processor())
    except OSError:
        return platform.processor()


def as_plain(what: str, sides: Sequence[Side], **more: Any) -> dict[str, Any]:
    """The results for a JSON file.

    Args:
        what: was measured, in a few words.
        sides: after `measure`; the first is d2lite.
        more: further plain values.

    Returns:
        Command, machine, and for each side its samples in seconds, medians, spreads and facts; the
        ratio of the first side to each other one.
    """
    first, *others = sides
    return {
        "what": what,
        "command": command_line(),
        "machine": machine(),
        "sides": {
            side.name: {
                "median_s": {phase: side.median(phase) for phase in side.samples},
                "spread_s": {phase: spread_of(values) for phase, values in side.samples.items()},
                "samples_s": side.samples,
                **side.facts,
            }
            for side in sides
        },
        "ratio": {other.name: first.median() / other.median() for other in others},
        **more,
    }


def markdown(what: str, sides: Sequence[Side]) -> str:
    """A table to read, with the command and the machine above it."""
    first = sides[0]
    phases = list(dict.fromkeys(phase for side in sides for phase in side.samples))
    facts = list(dict.fromkeys(name for side in sides for name in side.facts))
    head = ["", *(side.name for side in sides), *(f"d2lite / {s.name}" for s in sides[1:])]
    rows = [head, ["---", *(["---:"] * (len(head) - 1))]]
    # The whole comes last, as a sum does.
    for phase in sorted(phases, key=lambda name: name == "whole"):
        medians = [s.median(phase) if phase in s.samples else None for s in sides]
        cells = [
            "" if m is None else f"{_time(m)} ± {_time(spread_of(s.samples[phase]))}"
            for m, s in zip(medians, sides, strict=True)
        ]
        rows.append([phase, *cells, *_ratios(medians)])
    for name in facts:
        values = [side.facts.get(name) for side in sides]
        cells = ["" if value is None else f"{value:,.0f}" for value in values]
        rows.append([name, *cells, *_ratios(values)])
    found = machine()
    versions = ", ".join(f"{name} {found[name]}" for name in found if name not in _SHOWN)
    return "\n".join(
        [
            f"{what}: `{command_line()}`",
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"Medians of {len(first.samples['whole'])} runs ± half the distance of the quartiles. "
            f"{found['processor']}; GPU: {found['gpu']}; {versions}.",
        ]
    )


_SHOWN = ("processor", "gpu")


def _ratios(values: Sequence[float | None]) -> list[str]:
    """The first value as a multiple of each other one."""
    first, *others = values
    return ["" if not first or not other else f"{first / other:.2f}" for other in others]


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
