"""Charts as SVG that is part of the page: readable in light and dark mode, without a script.

matplotlib's SVG and not plotly: all charts of a run are some 100 kB, where plotly's script alone
is 4.8 MB in every run's folder; they print, and their texts are text to screen readers and search.
"""

import io
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from d2lite.utils.errors import MissingPackageError

# Middle tones, which are readable on white and on black; hues after Okabe and Ito 2008, for people
# who see few colours. Dashes tell apart what comes after them.
_COLORS = ["#2b83c6", "#dd6b10", "#109c77", "#c765a2", "#a8860f", "#4bb0de", "#858585", "#9370d0"]
_DASHES = ["-", "--", "-.", ":"]
# Written into the SVG, and replaced there by colours of the page.
_TEXT, _GRID = "#010203", "#040506"
_MOST_POINTS = 500
# Letters of a name in the legend, which has three of them in a row.
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: for the legend; "" for none.
        x: (P,) numbers.
        y: (P,) numbers; those that are not finite leave a gap.
        is_main: drawn in front and wider.
        style: number of its colour and dash; None for the next ones.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    is_main: bool = True
    style: int | None = None


@dataclass(frozen=True)
class Chart:
    """Lines on one pair of axes.

    Attributes:
        title: above it.
        x_label: of the axis.
        y_label: of the axis.
        lines: to draw.
        describes: one sentence for those who cannot see it, with its numbers.
        limits: of the y axis; None for what fits.
        x_limits: of the x axis; None for what fits.
        marks: x positions of vertical lines, with their names.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    describes: str
    limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None
    marks: Mapping[str, float] = field(default_factory=dict)


def draw_svg(chart: Chart) -> str:
    """Draw a chart.

    Returns:
        An <svg> element; lines and texts take the colours of the page by `currentColor` and the
        variable --grid.

    Raises:
        MissingPackageError: if matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "The charts of a report need matplotlib: pip install matplotlib"
        ) from error
    # Its font manager logs each font of the machine once.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    # Text stays text, and ids do not change from run to run.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": chart.title}
    # A dollar in the name of a class is not a formula.
    settings |= {"font.family": "sans-serif", "font.size": 9, "text.parse_math": False}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The browser draws the texts, with its own fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(4.7, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for number, line in enumerate(chart.lines):
            _draw_line(axes, line, number if line.style is None else line.style)
        for name, place in chart.marks.items():
            axes.axvline(place, color=_TEXT, linewidth=0.9, linestyle=":", label=name)
        _finish(axes, chart)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(stream.getvalue(), chart)


def _draw_line(axes: Any, line: Line, style: int) -> None:
    x, y = (np.asarray(values, dtype=np.float64) for values in (line.x, line.y))
    # A name of 100,000 letters would hold up the end of a run.
    is_long = len(line.name) > _LONGEST_NAME
    name = f"{line.name[: _LONGEST_NAME - 3]}..." if is_long else line.name
    kept = thinned(len(x))
    x, y = x[kept], y[kept]
    axes.plot(
        x,
        y,
        label=name or "_nolegend_",
        color=_COLORS[style % len(_COLORS)],
        linestyle=_DASHES[style // len(_COLORS) % len(_DASHES)],
        linewidth=2.2 if line.is_main else 1.2,
        zorder=3 if line.is_main else 2,
        marker="o" if len(x) <= 12 else None,
        markersize=4,
    )


def thinned(count: int) -> np.ndarray:
    """The points of a line that are drawn: all, or some 500 of them with both ends.

    The last three stay, since a curve of precision falls straight down there.
    """
    step = max(-(-count // _MOST_POINTS), 1)
    last = np.arange(max(count - 3, 0), count)
    return np.unique(np.concatenate([np.arange(0, count, step), last]))


def _finish(axes: Any, chart: Chart) -> None:
    axes.set_xlabel(chart.x_label, color=_TEXT)
    axes.set_ylabel(chart.y_label, color=_TEXT)
    if chart.limits:
        axes.set_ylim(*chart.limits)
    if chart.x_limits:
        axes.set_xlim(*chart.x_limits)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.tick_params(colors=_TEXT, length=0)
    for side, spine in axes.spines.items():
        spine.set_color(_GRID)
        spine.set_visible(side in ("left", "bottom"))
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1 or chart.marks:
        # Below: beside the axes it takes the width that a phone does not have.
        axes.figure.legend(
            handles, names, fontsize=8.5, frameon=False, labelcolor=_TEXT, ncols=3,
            loc="outside lower center",
        )  # fmt: skip


def _for_page(svg: str, chart: Chart) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(_TEXT, "currentColor").replace(_GRID, "var(--grid)")
    # Ids are those of the whole page, where each chart needs its own.
    prefix = re.sub(r"\W+", "-", chart.title.lower())
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    # The page says the size, and names it for screen readers.
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} aria-hidden="true" focusable="false">{rest}'
