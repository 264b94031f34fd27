"""find_sets: the dataset strings to train and to evaluate on, for a folder of a user's own."""

from pathlib import Path
from typing import NamedTuple

from d2lite.data import DatasetCatalog
from d2lite.data.datasets.by_string.auto_layout import is_recognised, recognise
from d2lite.data.datasets.by_string.source import find_path, is_there
from d2lite.utils.errors import MissingFileError

# Share of the images that is held out where the data have no split.
_HELD_OUT = 0.2
# Names of splits in the order in which they are evaluated on.
_TESTS = ("val", "test")


class TrainAndTest(NamedTuple):
    """Datasets of a run.

    Attributes:
        train: strings for DATASETS.TRAIN.
        test: strings for DATASETS.TEST; empty if there is nothing to evaluate on.
        evidence: what the choice follows from.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    evidence: str


def find_sets(subject: str) -> TrainAndTest:
    """Find the splits of a dataset, or hold some images out.

    Args:
        subject: a folder or file that a labelling tool exported, or a dataset string or name.

    Raises:
        MissingFileError: if it is a path, and nothing is there.
        DataError: if no layout fits the folder.
    """
    if not subject:
        raise MissingFileError("The data are an empty word; name a folder, a file or a dataset.")
    path = subject.removeprefix("auto:")
    if not is_there(path):
        return _named(subject)
    base = f"auto:{Path(path).as_posix()}"
    splits = recognise(find_path(path, suits=is_recognised))
    train = "train" if "train" in splits else "trainval" if "trainval" in splits else None
    test = next((name for name in _TESTS if name in splits), None)
    if train and test:
        return TrainAndTest(
            (f"{base}@{train}",), (f"{base}@{test}",), f"the data are split: {', '.join(splits)}"
        )
    option = f"val_fraction={_HELD_OUT:g}"
    return TrainAndTest(
        (f"{base}@train?{option}",),
        (f"{base}@val?{option}",),
        f"the data have no validation split, so {_HELD_OUT:.0%} of the images are held out",
    )


def _named(subject: str) -> TrainAndTest:
    """A dataset string or a registered name, which is one set; the other one has a like name."""
    known = DatasetCatalog.list()
    if subject in known:
        test = subject.removesuffix("train") + "val"
        if subject.endswith("train") and test in known:
            return TrainAndTest((subject,), (test,), f"{test} is registered as well")
    elif ":" not in subject:
        raise MissingFileError(
            f"{subject}: there is no such folder, file or dataset. Give the folder of images and "
            "labels, or a dataset string as docs/datasets.md lists them; options of the config are "
            "KEY VALUE."
        )
    return TrainAndTest((subject,), (), "one set is named; name another in DATASETS.TEST")
