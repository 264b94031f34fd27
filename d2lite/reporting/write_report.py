"""Writing report.html, for one run and for several that are compared."""

import logging
from pathlib import Path

from d2lite.utils.file_io import write_file, write_json_file

from .analysis import as_json
from .evaluated_set import EvaluatedSet, disagreement, load_evaluated_set
from .page import RunPart, report_page
from .pictures import write_error_crops
from .plain_results import without_analysed
from .run_charts import training_charts
from .run_files import RunFacts, blow_ups, logged_warnings, read_facts, read_scalars

logger = logging.getLogger(__name__)

REPORT_FILE = "report.html"


def write_run_report(
    folder: Path,
    facts: RunFacts | None = None,
    *,
    output: Path | None = None,
    errors_folder: Path | None = None,
) -> Path:
    """Write the report of a run.

    Args:
        folder: of the run.
        facts: of the run; None reads those that it has kept.
        output: the file; None for report.html in the folder.
        errors_folder: gets a picture of each miss and false alarm; None writes none.

    Returns:
        The path of the report. Its numbers are beside it, as .json.
    """
    if facts is None:
        facts = read_facts(folder)
    else:
        facts.write(folder)
    scalars = read_scalars(folder)
    found = load_evaluated_set(folder, facts)
    notes: list[str] = []
    if isinstance(found, str):
        notes.append(f"No analysis of results. {found}")
        evaluated = None
    else:
        evaluated = found
        table = facts.results or {n: values[-1] for n, (_, values) in scalars.series.items()}
        if found.note:
            notes.append(found.note)
        else:
            notes += filter(None, [disagreement(a, table, facts.test_sets) for a in found.analyses])
        if len(facts.test_sets) > 1:
            others = ", ".join(facts.test_sets[:-1])
            notes.append(
                f"The analysis is of {found.name}, the last set; of {others} there are the results."
            )
    page = report_page(
        f"Report of {folder.resolve().name}",
        evaluated,
        RunPart(
            command=facts.command,
            charts=training_charts(scalars),
            train_classes=facts.train_classes,
            warnings=logged_warnings(folder),
            blow_ups=blow_ups(folder),
            options=facts.options,
            config=facts.config,
            environment=facts.environment,
            results=without_analysed(
                facts.results,
                [] if evaluated is None else [a.task for a in evaluated.analyses],
                facts.test_sets,
            ),
        ),
        notes,
    )
    target = output or folder / REPORT_FILE
    write_file(target, page)
    if evaluated is not None:
        write_json(evaluated, target.with_suffix(".json"))
    if errors_folder is not None and evaluated is not None:
        log_error_crops(evaluated, errors_folder)
    return target


def write_json(evaluated: EvaluatedSet, path: Path) -> None:
    """Write the numbers of the report: {"set": name, "tasks": {task: analysis}}."""
    tasks = {analysis.task: as_json(analysis) for analysis in evaluated.analyses}
    write_json_file(path, {"set": evaluated.name, "tasks": tasks}, indent=1, allow_nan=False)


def log_error_crops(evaluated: EvaluatedSet, folder: Path) -> None:
    """Write a picture of each miss and false alarm, and say how many there are."""
    paths = list(write_error_crops(evaluated.analyses[-1], evaluated.read_image, folder))
    logger.info("Wrote %d pictures of misses and false alarms to %s", len(paths), folder)
