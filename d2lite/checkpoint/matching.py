"""Which weights of a file go into a model, and a report about the rest."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

_WRAPPER = "module."
# Constants in some files, which models compute or get from the config.
_CONSTANTS = (
    "pixel_mean",
    "pixel_std",
    "anchor_generator.",
    "num_batches_tracked",
    "relative_position_index",
)
_SHOWN = 6


@dataclass
class LoadReport:
    """What happened to each parameter and buffer at a load.

    Attributes:
        loaded: names that the model took.
        missing: names of the model that the file lacks; they keep their values.
        unexpected: names of the file that the model lacks.
        other_shape: (name, shape in the file, shape in the model) of those that were left out.
        kept_classes: names of the classes whose rows were taken from a file of other classes;
            None where that was not requested or needed.
        num_classes: of the model, where `kept_classes` is not None.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    other_shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    kept_classes: list[str] | None = None
    num_classes: int = 0

    @property
    def missing_keys(self) -> list[str]:
        """`missing`, under the name that code of others reads and changes."""
        return self.missing

    @property
    def unexpected_keys(self) -> list[str]:
        """`unexpected`, under the name that code of others reads and changes."""
        return self.unexpected

    @property
    def incorrect_shapes(self) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """`other_shape`, under the name that code of others reads and changes."""
        return self.other_shape

    @property
    def level(self) -> int:
        """Logging level of the report: INFO if all fits, else WARNING."""
        complete = not (self.missing or self.unexpected or self.other_shape)
        return logging.INFO if complete else logging.WARNING

    def examples(self) -> list[str]:
        """A few names of the file that were not used."""
        return [*self.unexpected, *(name for name, _, _ in self.other_shape)][:_SHOWN]

    def __str__(self) -> str:
        """A short text: counts, then names grouped by module."""
        total = len(self.loaded) + len(self.missing) + len(self.other_shape)
        lines = [f"{len(self.loaded)} of the model's {total} tensors"]
        if self.missing:
            lines.append(f"not in the file, left as they were: {_grouped(self.missing)}")
        if self.unexpected:
            lines.append(f"in the file but not in the model: {_grouped(self.unexpected)}")
        if self.other_shape:
            shown = [
                f"{name} ({list(theirs)} in the file, {list(ours)} in the model)"
                for name, theirs, ours in self.other_shape[:_SHOWN]
            ]
            more = len(self.other_shape) - _SHOWN
            tail = f" and {more} more" if more > 0 else ""
            lines.append(f"of another shape, left as they were: {', '.join(shown)}{tail}")
            lines += [line for line in [_about_channels(self.other_shape)] if line]
        if self.kept_classes is not None:
            kept = self.kept_classes
            names = ", ".join(kept[:_SHOWN]) + (", ..." if len(kept) > _SHOWN else "")
            lines.append(
                f"{len(kept)} of {self.num_classes} classes have their names and rows in the file: "
                f"{names or 'none'}"
            )
        return "\n  ".join(lines)


def _about_channels(
    other_shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]],
) -> str | None:
    """A hint for a first layer that was made for images of other channels."""
    for name, theirs, ours in other_shape:
        is_kernel = len(theirs) == len(ours) == 4 and theirs[0] == ours[0] and theirs[1] in (1, 3)
        if is_kernel and theirs[2:] == ours[2:] and theirs[1] != ours[1]:
            return (
                f"{name} is for images of {theirs[1]} channels in the file and of {ours[1]} in "
                "the model (MODEL.PIXEL_MEAN), so it starts untrained; with MODEL.BACKBONE."
                "FREEZE_AT above 0 it would stay untrained: set it to 0"
            )
    return None


def fit_to_model(
    weights: Mapping[str, torch.Tensor], model: nn.Module
) -> tuple[dict[str, Any], LoadReport]:
    """Choose the weights that a model can take.

    Args:
        weights: names and tensors of a file; a "module." that a wrapper put before all names is
            removed.
        model: not changed.

    Returns:
        A state dict for `load_state_dict(..., strict=False)`, and the report.
    """
    named = without_wrapper(weights)
    own = model.state_dict()
    fitting: dict[str, Any] = OrderedDict()
    metadata = getattr(weights, "_metadata", None)
    if metadata is not None:
        fitting._metadata = metadata  # type: ignore[attr-defined]
    report = LoadReport()
    for name, value in named.items():
        if name not in own:
            report.unexpected.append(name)
        elif value.shape != own[name].shape:
            report.other_shape.append((name, tuple(value.shape), tuple(own[name].shape)))
        else:
            fitting[name] = value
            report.loaded.append(name)
    report.missing = [name for name in own if name not in named]
    report.missing = [name for name in report.missing if not _is_constant(name)]
    report.unexpected = [name for name in report.unexpected if not _is_constant(name)]
    return fitting, report


def without_wrapper(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without the "module." that a wrapper for several devices put before all names."""
    if all(name.startswith(_WRAPPER) for name in weights):
        return {name.removeprefix(_WRAPPER): value for name, value in weights.items()}
    return dict(weights)


def _is_constant(name: str) -> bool:
    return any(constant in name for constant in _CONSTANTS)


def _grouped(names: Sequence[str]) -> str:
    """Names joined by module: `head.conv.{weight, bias}`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        groups.setdefault(module, []).append(leaf)
    shown = [
        f"{module}.{leaves[0]}"
        if module and len(leaves) == 1
        else f"{module}.{{{', '.join(leaves)}}}"
        if module
        else ", ".join(leaves)
        for module, leaves in list(groups.items())[:_SHOWN]
    ]
    more = len(groups) - _SHOWN
    return ", ".join(shown) + (f" and {more} more modules" if more > 0 else "")
