"""The charts of a report: what is drawn, from scalars and analyses."""

import math
from collections.abc import Callable

import numpy as np

from .analysis import TITLES, Analysis
from .charts import Chart, Line
from .curves import Curve, precision_recall_points
from .run_files import Scalars

# More lines than colours and dashes tell apart.
_MOST_LINES = 12
_PERCENT = (-2.0, 102.0)
# Among the colours of charts.
_GREY = 6


def training_charts(scalars: Scalars) -> list[Chart]:
    """Losses, rate, results and times by iteration; those without two points are left out."""
    losses = scalars.named(r"(total_loss|loss\w*|[^/]*_loss)")
    # The order of a legend: the sum first.
    losses = {n: losses[n] for n in sorted(losses, key=lambda n: (n != "total_loss", n))}
    validation = scalars.named(r"(.*/)?validation/.*loss.*|(.*/)?validation_loss.*")
    results = scalars.named(r"(.*/)?(bbox|segm|keypoints|sem_seg|panoptic_seg)/(AP|AP50|mIoU|PQ)")
    rate = scalars.named("lr")
    times = scalars.named("(time|data_time)")
    charts = [
        _chart("Losses", "loss", {**losses, **validation}),
        _chart("Results by iteration", "percent", results, limits=_PERCENT),
        _chart("Learning rate", "learning rate", rate),
        _chart("Time of an iteration", "seconds", times),
    ]
    return [chart for chart in charts if chart is not None]


def _chart(
    title: str,
    y_label: str,
    series: dict[str, tuple[list[int], list[float]]],
    limits: tuple[float, float] | None = None,
) -> Chart | None:
    shown = {n: s for n, s in list(series.items())[:_MOST_LINES] if len(s[0]) > 1}
    if not shown:
        return None
    lines = [
        Line(name, x, y, is_main=number == 0 or limits is not None)
        for number, (name, (x, y)) in enumerate(shown.items())
    ]
    ends = ", ".join(f"{n} from {_short(y[0])} to {_short(y[-1])}" for n, (_, y) in shown.items())
    return Chart(title, "iteration", y_label, lines, f"{title}: {ends}.", limits)


def _short(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3g}"


def result_charts(analysis: Analysis) -> list[Chart]:
    """Precision against recall, and F1 against the threshold, at IoU 0.5."""
    labels = [k for k, curve in enumerate(analysis.class_curves) if curve.num_objects]
    few = labels if len(labels) <= _MOST_LINES else []
    names = analysis.matches.class_names

    def lines(points: Callable[[Curve], tuple[np.ndarray, np.ndarray]]) -> list[Line]:
        of_classes = (
            Line(names[k], *points(analysis.class_curves[k]), False, _style(number))
            for number, k in enumerate(few)
        )
        return [Line("all classes", *points(analysis.curve), style=_GREY), *of_classes]

    best = analysis.threshold
    has_best = math.isfinite(best)
    end = 100 * float(analysis.curve.recall[-1])
    at = analysis.curve.best()
    value = 100 * float(analysis.curve.f1[at]) if at is not None else float("nan")
    return [
        Chart(
            f"Precision and recall, {TITLES[analysis.task].lower()}",
            "recall, percent",
            "precision, percent",
            lines(_percent_points),
            f"Precision against recall at IoU 0.5. All classes together reach recall {end:.0f}%.",
            _PERCENT,
            _PERCENT,
        ),
        Chart(
            f"F1 and threshold, {TITLES[analysis.task].lower()}",
            "threshold on the score",
            "F1, percent",
            lines(_f1_points),
            f"F1 against the threshold at IoU 0.5. It is highest, {value:.1f}%, at {best:.3f}."
            if has_best
            else "F1 against the threshold at IoU 0.5. No detection is right.",
            _PERCENT,
            (-0.02, 1.02),
            {f"best {best:.3f}": best} if has_best else {},
        ),
    ]


def _style(number: int) -> int:
    """The number of a colour and dash for a class; grey is that of all classes together."""
    return number if number < _GREY else number + 1


def _percent_points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    recall, precision = precision_recall_points(curve)
    return 100 * recall, 100 * precision


def _f1_points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """F1 in percent at thresholds from 0, where all detections count, to 1, where none does."""
    if not curve.num_objects:
        return np.zeros(0), np.zeros(0)
    # Between two scores, the detections of the higher one and of those above count.
    thresholds, values = curve.thresholds[1:][::-1], 100 * curve.f1[::-1]
    return np.concatenate([[0.0], thresholds.repeat(2), [1.0]]), values.repeat(2)
