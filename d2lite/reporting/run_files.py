"""What the folder of a run holds: scalars, warnings, and the facts that are kept for its report."""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import read_json_file, write_json_file

FACTS_FILE = "report_facts.json"
# Runs of a folder, in a message.
_SHOWN = 3
# Different warnings, in a report.
_MOST_WARNINGS = 40
_WARNING = re.compile(r"^\[[\d/]+ [\d:]+ [\w.]+\]: (WARNING|ERROR|CRITICAL) (.*)$")


@dataclass(frozen=True)
class RunFacts:
    """What the report of a run needs to know beside the files of the run.

    Attributes:
        command: that started it; "" if it is not known.
        environment: as `d2lite.utils.collect_env` describes it.
        options: the keys that differ from the defaults, as YAML with their origins.
        config: all keys, as YAML with their origins.
        train_sets: DATASETS.TRAIN.
        test_sets: DATASETS.TEST.
        train_classes: name and number of "objects" and "images" of each class; None if not known.
        results: of the last evaluation, as "task/metric".
        detections_per_image: how many the model gives at most; None if that is not known.
        kpt_oks_sigmas: of the keypoints; empty for COCO persons.
        is_rotated: whether boxes are rotated.
    """

    command: str = ""
    environment: str = ""
    options: str = ""
    config: str = ""
    train_sets: list[str] = field(default_factory=list)
    test_sets: list[str] = field(default_factory=list)
    train_classes: list[dict[str, Any]] | None = None
    results: dict[str, float] = field(default_factory=dict)
    detections_per_image: int | None = None
    kpt_oks_sigmas: list[float] = field(default_factory=list)
    is_rotated: bool = False

    def write(self, folder: Path) -> None:
        """Keep the facts in the folder of the run, for `d2lite report`."""
        kept = dataclasses.asdict(self)
        # JSON has no NaN, which is the APl of a set without large objects.
        kept["results"] = {
            name: value if math.isfinite(value) else None for name, value in self.results.items()
        }
        write_json_file(folder / FACTS_FILE, kept, indent=1, allow_nan=False)


def read_facts(folder: Path) -> RunFacts:
    """The facts of a run; of one that has not written them, what its config.yaml says.

    Raises:
        MissingFileError: if the folder is not there, or not that of a run.
        DataError: if its file of facts is damaged.
    """
    if not folder.is_dir():
        raise MissingFileError(f"There is no run in {folder}: it is not a folder.")
    path = folder / FACTS_FILE
    if path.is_file():
        try:
            facts = RunFacts(**read_json_file(path))
            for name, value in facts.results.items():
                facts.results[name] = math.nan if value is None else value
            return facts
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} cannot be read ({error}). Delete it: a report is then made without it."
            ) from error
    config = folder / "config.yaml"
    if not config.is_file():
        if not (folder / "metrics.json").is_file():
            runs = sorted(str(path.parent) for path in folder.glob("*/config.yaml"))[:_SHOWN]
            give = " or ".join(runs) or "the folder that training wrote (OUTPUT_DIR)"
            raise MissingFileError(
                f"There is no run in {folder}: it has no config.yaml and no metrics.json. Give "
                f"{give}."
            )
        return RunFacts()
    text = config.read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml.safe_load(text)
        sets, test = content["DATASETS"], content["TEST"]
    except (yaml.YAMLError, KeyError, TypeError, RecursionError):
        # A Python config, or a file that another program wrote.
        return RunFacts(config=text)
    return RunFacts(
        config=text,
        train_sets=list(sets.get("TRAIN", ())),
        test_sets=list(sets.get("TEST", ())),
        detections_per_image=test.get("DETECTIONS_PER_IMAGE"),
        kpt_oks_sigmas=list(test.get("KEYPOINT_OKS_SIGMAS", ())),
    )


@dataclass(frozen=True)
class Scalars:
    """The scalars of a run: name to iterations and values, in ascending order."""

    series: dict[str, tuple[list[int], list[float]]]

    def named(self, pattern: str) -> dict[str, tuple[list[int], list[float]]]:
        """Those whose whole name fits a regular expression."""
        return {n: s for n, s in self.series.items() if re.fullmatch(pattern, n)}


def read_scalars(folder: Path) -> Scalars:
    """Read metrics.json; lines that a stop has torn are left out, and null is nan."""
    path = folder / "metrics.json"
    series: dict[str, tuple[list[int], list[float]]] = {}
    lines = (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    )
    for line in lines:
        try:
            record = json.loads(line)
            iteration = int(record.pop("iteration"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        for name, value in record.items():
            if value is None or isinstance(value, (int, float)):
                x, y = series.setdefault(name, ([], []))
                x.append(iteration)
                y.append(float("nan") if value is None else float(value))
    return Scalars(series)


def logged_warnings(folder: Path) -> list[tuple[str, str, int]]:
    """Level, text and number of times of the first different warnings and errors in log.txt."""
    path = folder / "log.txt"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as lines:
        counts = Counter(_warnings(lines))
    return [(level, text, count) for (level, text), count in counts.items()][:_MOST_WARNINGS]


def _warnings(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        match = _WARNING.match(line)
        if match:
            yield match[1].lower(), match[2]


def blow_ups(folder: Path) -> list[str]:
    """The names of the reports on steps that were not finite."""
    return sorted(path.name for path in folder.glob("blow_up_*.json"))
