"""plain_results: the results table of a run, in parts that a person can read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .analysis import TITLES
from .template import Column

_TITLES = {**TITLES, "panoptic_seg": "Panoptic segmentation", "sem_seg": "Semantic segmentation"}


class PlainResults(NamedTuple):
    """The results of a task on a set, as an evaluator has given them.

    Attributes:
        title: task, and set if the run has several.
        rows: metric and value.
        class_columns: of `class_rows`; the class, then a column for each metric.
        class_rows: one for each class; empty where there are none.
    """

    title: str
    rows: list[list[Any]]
    class_columns: list[Column]
    class_rows: list[list[Any]]


COLUMNS = [Column("Metric"), Column("Value", 2)]


def plain_results(results: Mapping[str, float]) -> list[PlainResults]:
    """Put results into a table for each set and task, and one for their classes.

    Args:
        results: "task/metric" or "set/task/metric" -> value; a metric of a class is named
            "metric-class".
    """
    groups: dict[str, dict[str, float]] = {}
    for name, value in results.items():
        group, _, metric = name.rpartition("/")
        # A class may have a slash in its name.
        head, dash, tail = name.partition("-")
        if dash and "/" in tail:
            group, _, metric = head.rpartition("/")
            metric = f"{metric}-{tail}"
        groups.setdefault(group, {})[metric] = value
    return [_of_group(group, metrics) for group, metrics in groups.items()]


def _of_group(group: str, metrics: Mapping[str, float]) -> PlainResults:
    of_classes: dict[str, dict[str, float]] = {}
    rows: list[list[Any]] = []
    for name, value in metrics.items():
        kind, dash, class_name = name.partition("-")
        if dash:
            of_classes.setdefault(class_name, {})[kind] = value
        else:
            rows.append([name, value])
    kinds = list(dict.fromkeys(kind for row in of_classes.values() for kind in row))
    where, _, task = group.rpartition("/")
    title = _TITLES.get(task, task or "Results")
    return PlainResults(
        f"{title} on {where}" if where else title,
        rows,
        [Column("Class"), *(Column(kind, 2) for kind in kinds)],
        [[name, *(row.get(kind) for kind in kinds)] for name, row in of_classes.items()],
    )


def without_analysed(
    results: Mapping[str, float], tasks: list[str], test_sets: list[str]
) -> dict[str, float]:
    """The results that no analysis of the report shows.

    Args:
        results: as for `plain_results`.
        tasks: those with an analysis.
        test_sets: DATASETS.TEST, whose last one is analysed.
    """
    prefix = f"{test_sets[-1]}/" if len(test_sets) > 1 else ""
    shown = tuple(f"{prefix}{task}/" for task in tasks)
    return {name: value for name, value in results.items() if not name.startswith(shown)}
