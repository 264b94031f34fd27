"""find_sets: the dataset strings to train and to evaluate on, for a folder of a user's own."""

from pathlib import Path
from typing import NamedTuple

from d2lite.data.datasets.by_string.auto_layout import recognise
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
    kind, colon, rest = subject.partition(":")
    is_auto = colon and kind == "auto"
    if colon and not is_auto:
        return TrainAndTest((subject,), (), "a string names one set; name another in DATASETS.TEST")
    path = rest if is_auto else subject
    if "@" in path or "?" in path:
        return TrainAndTest((subject,), (), "a string names one set; name another in DATASETS.TEST")
    if not Path(path).exists():
        raise MissingFileError(
            f"{path}: there is no such folder or file. Give the folder of images and labels, or a "
            "dataset string as docs/datasets.md lists them; options of the config are KEY VALUE."
        )
    base = f"auto:{Path(path).as_posix()}"
    splits = recognise(Path(path))
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
