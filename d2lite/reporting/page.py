"""The report as one HTML file: facts, analyses, charts and pictures put into the template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .analysis import TITLES
from .charts import Chart
from .evaluated_set import EvaluatedSet, SetStatistics, set_statistics
from .image_ranking import chosen_images
from .pictures import ImagePair, image_pair
from .plain_results import COLUMNS, plain_results
from .task_part import task_part
from .template import Column, Section, drawn, render

_IMAGES_A_GROUP = 6
# Bytes of all pictures, so that the page stays below 8 MB.
_PICTURE_BYTES = 5_500_000
_GROUP_TITLES = {"worst": "Worst images", "typical": "Typical images", "best": "Best images"}


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
        results: of the last evaluation, as far as there is no analysis of them.
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
        tasks=[task_part(analysis) for analysis in analyses],
        other_columns=COLUMNS,
        other_results=plain_results(shown.results),
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
