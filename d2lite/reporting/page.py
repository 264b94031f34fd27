"""The report as one HTML file: facts, analyses, charts and pictures put into the template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from d2lite import __version__

from .analysis import IOU, Analysis
from .charts import Chart, draw_svg
from .error_kinds import KINDS
from .evaluated_set import EvaluatedSet, SetStatistics, set_statistics
from .image_ranking import chosen_images
from .pictures import ImagePair, image_pair
from .run_charts import result_charts

TITLES = {"bbox": "Boxes", "segm": "Masks", "keypoints": "Keypoints"}
# A matrix of more classes fills no screen; a list of its largest cells takes its place.
_MOST_IN_MATRIX = 30
_MOST_CONFUSIONS = 30
_IMAGES_A_GROUP = 6
# Bytes of all pictures, so that the page stays below 8 MB.
_PICTURE_BYTES = 5_500_000
_GROUP_TITLES = {"worst": "Worst images", "typical": "Typical images", "best": "Best images"}


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: of it.
        digits: after the point; None for text.
        why: what the numbers are, shown when the pointer rests on the title.
    """

    title: str
    digits: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page, for the navigation."""

    id: str
    title: str


def render(template: str, title: str, sections: Sequence[Section], **context: Any) -> str:
    """Fill a template with what it shows."""
    environment = Environment(
        loader=PackageLoader("d2lite.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["infinity"] = math.inf
    folder = files("d2lite.reporting") / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("report.css", "report.js"))
    return environment.get_template(f"{template}.html.j2").render(
        title=title,
        sections=sections,
        version=__version__,
        # Ours, and without a closing tag in it.
        css=Markup(style),
        js=Markup(script),
        **context,
    )


def drawn(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Charts as the template shows them."""
    return [
        {"title": c.title, "describes": c.describes, "svg": Markup(draw_svg(c))} for c in charts
    ]


@dataclass(frozen=True)
class RunPart:
    """What a report shows of a run beside its results.

    Attributes:
        command: that started it.
        charts: of the training.
        train_classes: see `RunFacts`.
        warnings: level, text and number of times.
        blow_ups: names of reports on steps that were not finite.
        options: that differ from the defaults.
        config: all keys.
        environment: of the machine.
        results: of the last evaluation, shown where there is no analysis of them.
    """

    command: str = ""
    charts: Sequence[Chart] = ()
    train_classes: Sequence[dict[str, Any]] | None = None
    warnings: Sequence[tuple[str, str, int]] = ()
    blow_ups: Sequence[str] = ()
    options: str = ""
    config: str = ""
    environment: str = ""
    results: Mapping[str, float] = field(default_factory=dict)


def report_page(
    title: str,
    evaluated: EvaluatedSet | None,
    run: RunPart | None,
    notes: Sequence[str] = (),
) -> str:
    """Make the page.

    Args:
        title: of the page.
        evaluated: the results; None for none.
        run: the run; None where only files of results were analysed.
        notes: sentences that are shown first.
    """
    shown = run or RunPart()
    analyses = [] if evaluated is None else evaluated.analyses
    groups = [] if evaluated is None else _image_groups(evaluated)
    statistics = set_statistics(evaluated.truth, analyses[-1]) if evaluated and analyses else None
    facts, rows, columns = _data(statistics, shown.train_classes)
    is_there = {
        "results": bool(analyses or shown.results),
        "images": bool(groups),
        "training": bool(shown.charts),
        "data": bool(facts or rows),
        "faults": run is not None,
        "config": run is not None,
        "environment": run is not None,
    }
    names = {"config": "Configuration"}
    return render(
        "report",
        title,
        [Section(i, names.get(i, i.capitalize())) for i, there in is_there.items() if there],
        command=shown.command,
        notes=notes,
        set_name="" if evaluated is None else evaluated.name,
        tasks=[_task(analysis) for analysis in analyses],
        result_columns=[Column("Metric"), Column("Value", 2)],
        result_rows=[] if analyses else [list(row) for row in shown.results.items()],
        image_groups=groups,
        threshold=analyses[-1].threshold if analyses else None,
        image_task=TITLES[analyses[-1].task].lower() if analyses else "",
        training_charts=drawn(shown.charts),
        data_facts=facts,
        data_columns=columns,
        data_rows=rows,
        show_run=run is not None,
        faults="" if evaluated is None else evaluated.faults,
        warning_columns=[Column("Level"), Column("Message"), Column("Times", 0)],
        warnings=shown.warnings,
        blow_ups=shown.blow_ups,
        options=shown.options,
        config=shown.config,
        environment=shown.environment,
    )


def _task(analysis: Analysis) -> dict[str, Any]:
    interval, confusion, errors = analysis.interval, analysis.confusion, analysis.errors
    num_classes = len(confusion.class_names)
    is_small = num_classes <= _MOST_IN_MATRIX
    many = sum(1 for row in analysis.classes if row.num_objects) > 12
    ignored = confusion.num_ignored
    return {
        "name": analysis.task,
        "title": TITLES[analysis.task],
        "metrics": analysis.metrics,
        "interval": ""
        if math.isnan(interval.lower)
        else f"95%: {interval.lower:.1f} to {interval.upper:.1f}",
        "best": _best_sentence(analysis),
        "class_columns": [
            Column("Class"),
            Column("AP", 1, "mean over IoU 0.50 to 0.95, as in the results table"),
            Column("AP50", 1, "at IoU 0.5"),
            Column("Threshold", 3, "score at which F1 of the class is highest"),
            Column("Precision", 1, "at this threshold and IoU 0.5"),
            Column("Recall", 1, "at this threshold and IoU 0.5"),
            Column("F1", 1, "at this threshold and IoU 0.5"),
            Column("Objects", 0),
            Column("Images", 0),
            Column("Detections", 0, "at any score"),
        ],
        "class_rows": [
            [
                row.name,
                row.average_precision,
                row.average_precision_50,
                row.best_threshold,
                row.precision,
                row.recall,
                row.f1,
                row.num_objects,
                row.num_images,
                row.num_detections,
            ]
            for row in analysis.classes
        ],
        "charts": drawn(result_charts(analysis)),
        "curve_note": "Curves of single classes are left out: there are too many to tell apart."
        if many
        else "",
        "confusion": _matrix(analysis) if is_small else None,
        "confusion_at": confusion,
        "confused_columns": [Column("True"), Column("Predicted"), Column("Count", 0)],
        "confused_rows": [] if is_small else _largest_cells(analysis),
        "ignored_note": f"{ignored} detections lie in crowd regions and count nowhere."
        if ignored
        else "",
        "ap50": errors.average_precision,
        "error_columns": [
            Column("Kind"),
            Column("Count", 0),
            Column("Cost in AP50", 1),
            Column("What it is"),
        ],
        "error_rows": [[k, errors.counts[k], errors.cost[k], KINDS[k]] for k in KINDS],
        "slice_columns": [
            Column("Objects that are"),
            Column("Objects", 0),
            Column("AP", 1, "for sizes the APs, APm and APl of the results table"),
            Column("AP50", 1),
            Column("Recall", 1, "at IoU 0.5 and any score"),
        ],
        "slice_rows": [
            [
                part.name,
                part.num_objects,
                part.average_precision,
                part.average_precision_50,
                part.recall_50,
            ]
            for part in (*analysis.sizes, *analysis.aspects)
        ],
    }


def _best_sentence(analysis: Analysis) -> str:
    at = analysis.curve.best()
    if at is None:
        return "No detection is right at IoU 0.5, so no threshold is better than another."
    curve = analysis.curve
    return (
        f"Best threshold for all classes together: {analysis.threshold:.3f}. With it "
        f"{curve.right[at]} of {curve.num_objects} objects are found and {curve.wrong[at]} "
        f"detections are wrong: precision {100 * curve.precision[at]:.1f}, recall "
        f"{100 * curve.recall[at]:.1f}, F1 {100 * curve.f1[at]:.1f} at IoU {IOU}."
    )


def _matrix(analysis: Analysis) -> dict[str, Any]:
    confusion = analysis.confusion
    last = len(confusion.class_names)
    sums = confusion.counts.sum(axis=1)
    rows = []
    for r, name in enumerate([*confusion.class_names, "background"]):
        cells = []
        for c, count in enumerate(confusion.counts[r].tolist()):
            share = round(100 * count / int(sums[r])) if sums[r] else 0
            kind = "none" if not count else "right" if r == c else "wrong"
            cells.append({"count": "" if r == c == last else count, "share": share, "kind": kind})
        rows.append({"name": name, "cells": cells})
    return {
        "columns": [*confusion.class_names, "not found"],
        "rows": rows,
        "iou": confusion.iou,
        "min_score": confusion.min_score,
    }


def _largest_cells(analysis: Analysis) -> list[list[Any]]:
    counts, names = analysis.confusion.counts, analysis.confusion.class_names
    cells: list[list[Any]] = [
        [
            [*names, "background"][r],
            [*names, "not found"][c],
            int(counts[r, c]),
        ]
        for r in range(len(counts))
        for c in range(len(counts))
        if r != c and counts[r, c]
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:_MOST_CONFUSIONS]


def _image_groups(evaluated: EvaluatedSet) -> list[dict[str, Any]]:
    analysis = evaluated.analyses[-1]
    groups, left = [], _PICTURE_BYTES
    for name, results in chosen_images(analysis.images, _IMAGES_A_GROUP).items():
        pairs = []
        for result in results:
            pair = image_pair(analysis, result, evaluated.read_image)
            if pair is None:
                continue
            left -= len(pair.truth) + len(pair.prediction)
            if left < 0:
                break
            pairs.append(_pair(pair, evaluated))
        if pairs:
            groups.append({"title": _GROUP_TITLES[name], "pairs": pairs})
    return groups


def _pair(pair: ImagePair, evaluated: EvaluatedSet) -> dict[str, Any]:
    result = pair.result
    objects = result.num_right + result.num_missed
    return {
        "name": evaluated.file_names.get(result.image_id, str(result.image_id)).rsplit("/", 1)[-1],
        "truth": pair.truth,
        "prediction": pair.prediction,
        "f1": 100 * result.f1,
        "counts": f"{result.num_right} found, {result.num_missed} missed, {result.num_wrong} wrong",
        "alt_truth": f"{objects} objects, {result.num_missed} of them missed",
        "alt_prediction": f"{result.num_right} right and {result.num_wrong} wrong detections",
    }


def _data(
    statistics: SetStatistics | None, train_classes: Sequence[dict[str, Any]] | None
) -> tuple[dict[str, str], list[list[Any]], list[Column]]:
    """Facts, rows and columns of the section on data."""
    trained = {row["name"]: row for row in train_classes or ()}
    facts = {}
    if statistics is not None:
        s = statistics
        facts = {
            "Images evaluated": f"{s.num_images}, {s.num_empty} of them without objects",
            "Objects": f"{s.num_objects}"
            + (f", and {s.num_crowds} crowd regions" if s.num_crowds else ""),
            "Objects in an image": _range_text(s.objects_per_image),
            "Longer side of images, pixels": _range_text(s.image_sides),
            "Size of objects, pixels": f"{_range_text(s.object_sides)} (square root of the area)",
        }
    names = [*(statistics.objects_of_class if statistics else ())]
    names += [name for name in trained if name not in names]
    rows = []
    for name in names:
        row: list[Any] = [name]
        if trained:
            found = trained.get(name, {})
            row += [found.get("objects"), found.get("images")]
        if statistics is not None:
            row += [statistics.objects_of_class.get(name), statistics.images_of_class.get(name)]
        rows.append(row)
    columns = [Column("Class")]
    if trained:
        columns += [Column("Objects, training", 0), Column("Images, training", 0)]
    if statistics is not None:
        columns += [Column("Objects, evaluation", 0), Column("Images, evaluation", 0)]
    return facts, rows, columns


def _range_text(values: tuple[float, float, float]) -> str:
    if math.isnan(values[0]):
        return "none"
    low, middle, high = (f"{value:.0f}" for value in values)
    return low if low == high else f"{low} to {high}, half below {middle}"
