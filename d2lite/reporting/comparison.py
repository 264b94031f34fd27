"""Several results on one set beside each other: how far AP differs, in which classes and images."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from d2lite.utils.file_io import write_file
from d2lite.utils.nested import flat_items

from .analysis import TITLES, Analysis, as_json, finite
from .bootstrap import Interval, average_precision_difference, suitable_resamples
from .charts import Chart, Line
from .evaluated_set import EvaluatedSet, load_evaluated_set
from .run_files import RunFacts, Scalars, read_facts, read_scalars
from .template import Column, Section, drawn, render

_MOST_IMAGES = 15


@dataclass(frozen=True)
class Comparison:
    """The results of one task.

    Attributes:
        task: "bbox", "segm" or "keypoints".
        names: of the results.
        analyses: of each; all were scored on the same images.
        differences: of each but the first: its AP minus that of the first, percent.
        file_names: image id to the image's address, where it is known.
    """

    task: str
    names: list[str]
    analyses: list[Analysis]
    differences: list[Interval]
    file_names: Mapping[Any, str] = field(default_factory=dict)


def compare(
    names: Sequence[str], sets: Sequence[EvaluatedSet], *, num_resamples: int | None = None
) -> tuple[list[Comparison], list[str]]:
    """Compare results with the first ones, task by task.

    Args:
        names: of the results.
        sets: of each.
        num_resamples: draws of the images; None for a number that suits the detections.

    Returns:
        The comparisons of tasks that all have, and sentences on what cannot be compared.
    """
    found, notes = [], []
    by_task = [{a.task: a for a in one.analyses} for one in sets]
    for task, first in by_task[0].items():
        without = [n for n, tasks in zip(names, by_task, strict=True) if task not in tasks]
        if without:
            notes.append(f"{TITLES[task]} are not compared: {', '.join(without)} has none.")
            continue
        analyses = [tasks[task] for tasks in by_task]
        if any(a.matches.image_ids != first.matches.image_ids for a in analyses):
            notes.append(f"{TITLES[task]} are not compared: the results are of different images.")
            continue
        count = num_resamples
        if count is None:
            count = suitable_resamples(max(len(a.matches.dt_score) for a in analyses))
        differences = [
            average_precision_difference(first.matches, a.matches, num_resamples=count)
            for a in analyses[1:]
        ]
        found.append(Comparison(task, list(names), analyses, differences, sets[0].file_names))
    return found, notes


def is_sure(difference: Interval) -> bool:
    """Whether the range of a difference does not hold 0."""
    return difference.lower > 0 or difference.upper < 0


def class_changes(comparison: Comparison) -> list[list[Any]]:
    """Class, then its AP in each result, then the last one minus the first one."""
    rows: list[list[Any]] = []
    for k, row in enumerate(comparison.analyses[0].classes):
        values = [analysis.classes[k].average_precision for analysis in comparison.analyses]
        rows.append([row.name, *values, values[-1] - values[0]])
    return rows


def image_changes(comparison: Comparison) -> list[list[Any]]:
    """Image, F1 in the first and in the last result, and the change; the largest changes first.

    F1 is in percent, at IoU 0.5 and the best threshold of each result.
    """
    first, last = (comparison.analyses[i].images for i in (0, -1))
    rows: list[list[Any]] = [
        [str(a.image_id), 100 * a.f1, 100 * b.f1, 100 * (b.f1 - a.f1)]
        for a, b in zip(first, last, strict=True)
    ]
    return sorted(rows, key=lambda row: -abs(row[3]))


def comparison_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The comparison as plain values: all analyses and the differences."""
    return {
        c.task: {
            "results": dict(zip(c.names, map(as_json, c.analyses), strict=True)),
            "differences": {
                name: {**finite(dataclasses.asdict(d)), "is_sure": is_sure(d)}
                for name, d in zip(c.names[1:], c.differences, strict=True)
            },
        }
        for c in comparisons
    }


def comparison_page(
    comparisons: Sequence[Comparison],
    names: Sequence[str],
    notes: Sequence[str],
    *,
    charts: Sequence[Chart] = (),
    option_rows: Sequence[Sequence[str]] = (),
) -> str:
    """Make the page.

    Args:
        comparisons: of each task.
        names: of the results.
        notes: sentences that are shown first.
        charts: of the trainings.
        option_rows: key, then its value in each run.
    """
    there = {"results": True, "training": bool(charts), "config": bool(option_rows)}
    titles = {"config": "Configuration"}
    return render(
        "compare",
        " and ".join(names) if len(names) == 2 else f"Comparison of {len(names)} results",
        [Section(i, titles.get(i, i.capitalize())) for i, shown in there.items() if shown],
        names=names,
        notes=notes,
        parts=[_part(comparison) for comparison in comparisons],
        training_charts=drawn(charts),
        option_columns=[Column("Key"), *map(Column, names)],
        option_rows=option_rows,
    )


def _part(comparison: Comparison) -> dict[str, Any]:
    metrics = list(comparison.analyses[0].metrics)
    rows: list[list[Any]] = []
    differences = [None, *comparison.differences]
    for name, analysis, difference in zip(
        comparison.names, comparison.analyses, differences, strict=True
    ):
        found: list[Any] = ["", "", ""]
        if difference is not None:
            found = [
                f"{difference.value:+.1f}",
                f"{difference.lower:+.1f} to {difference.upper:+.1f}",
                "yes" if is_sure(difference) else "no",
            ]
        ap, *others = (analysis.metrics[metric] for metric in metrics)
        rows.append([name, ap, *found, *others])
    columns = [Column("Result"), Column("AP", 1), Column("Difference"), Column("95% range")]
    columns += [Column("Sure"), *(Column(metric, 1) for metric in metrics[1:])]
    names = [Column(name, 1) for name in comparison.names]
    files = {str(i): name.rsplit("/", 1)[-1] for i, name in comparison.file_names.items()}
    changed = [row for row in image_changes(comparison) if row[3]][:_MOST_IMAGES]
    return {
        "title": TITLES[comparison.task],
        "columns": columns,
        "rows": rows,
        "class_columns": [Column("Class"), *names, Column("Change", 1, "last minus first")],
        "class_rows": class_changes(comparison),
        "image_columns": [Column("Image"), names[0], names[-1], Column("Change", 1)],
        "image_rows": [[files.get(image, image), *numbers] for image, *numbers in changed],
    }


def compare_runs(folders: Sequence[Path], output: Path) -> list[Comparison]:
    """Write the page that compares several runs, and its numbers beside it."""
    names = _short_names(folders)
    facts = [read_facts(folder) for folder in folders]
    scalars = [read_scalars(folder) for folder in folders]
    notes: list[str] = []
    sets: dict[str, EvaluatedSet] = {}
    for name, folder, fact in zip(names, folders, facts, strict=True):
        found = load_evaluated_set(folder, fact)
        if isinstance(found, str):
            notes.append(f"{name}: no analysis of results. {found}")
        else:
            sets[name] = found
    comparisons: list[Comparison] = []
    if len(sets) > 1:
        comparisons, more = compare(list(sets), list(sets.values()))
        notes += more
    page = comparison_page(
        comparisons,
        names,
        notes,
        charts=_overlaid(names, scalars),
        option_rows=_changed_options(facts),
    )
    write_file(output, page)
    return comparisons


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The names of the folders, as far up as they differ."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{part[-1]} ({n})" for n, part in enumerate(parts, 1)]


def _overlaid(names: Sequence[str], scalars: Sequence[Scalars]) -> list[Chart]:
    """The loss and the results of all runs in common charts."""
    wanted = ["total_loss", "bbox/AP", "segm/AP", "keypoints/AP", "lr"]
    charts = []
    for scalar in wanted:
        lines = [
            Line(name, *one.series[scalar])
            for name, one in zip(names, scalars, strict=True)
            if len(one.series.get(scalar, ([],))[0]) > 1
        ]
        if lines:
            ends = ", ".join(f"{line.name} ends at {line.y[-1]:.3g}" for line in lines)
            charts.append(Chart(scalar, "iteration", scalar, lines, f"{scalar}: {ends}."))
    return charts


def _changed_options(facts: Sequence[RunFacts]) -> list[list[str]]:
    """Keys whose values differ between runs; keys of one run alone are in it too.

    A run that did not end has only its config.yaml, without the unused keys of projects: there a
    key that is missing says nothing.
    """
    flat = [_flat(fact) for fact in facts]
    has_all = all(fact.command for fact in facts)
    rows = []
    for key in sorted(set().union(*flat)):
        values = {str(one[key]) for one in flat if key in one}
        if len(values) > 1 or (has_all and any(key not in one for one in flat)):
            rows.append([key, *(str(one.get(key, "")) for one in flat)])
    return rows


def _flat(facts: RunFacts) -> dict[str, Any]:
    try:
        content = yaml.safe_load(facts.config)
    except yaml.YAMLError:
        return {}
    return dict(flat_items(content)) if isinstance(content, Mapping) else {}
