"""The words of `d2lite predict`: run and inputs, formats, thresholds, names of output files."""

import argparse
from pathlib import Path

from d2lite.export import EXPORTED_SUFFIXES
from d2lite.predicting.inputs import Input
from d2lite.predicting.model_source import WEIGHTS_SUFFIXES
from d2lite.predicting.saving import OF_FRAMES
from d2lite.predicting.thresholds import Thresholds, read_thresholds
from d2lite.predicting.tracking import Tracker
from d2lite.utils.errors import ConfigError


def split_words(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The run or checkpoint, if there is one, and the inputs.

    Raises:
        ConfigError: if there is no input.
    """
    words = list(args.words)
    is_model = bool(words) and (len(words) + len(args.input) > 1 or _is_model(words[0]))
    is_model = is_model and not (args.config_file and not _is_model(words[0]))
    run = words.pop(0) if is_model else ""
    inputs = [*words, *args.input]
    if not inputs:
        raise ConfigError("Nothing to predict: give RUN INPUT..., or --input INPUT...")
    return run, inputs


def _is_model(word: str) -> bool:
    path = Path(word)
    is_run = (path / "config.yaml").is_file() or (path / "last_checkpoint").is_file()
    return is_run or path.suffix in (*WEIGHTS_SUFFIXES, *EXPORTED_SUFFIXES, ".yaml", ".yml", ".py")


def parse_threshold(text: str | None) -> Thresholds:
    """A number, CLASS=NUMBER with commas, or a file of them; None where nothing is given.

    Raises:
        ConfigError: if it is neither.
    """
    if text is None:
        return None
    if text.endswith(".json"):
        return read_thresholds(text)
    try:
        if "=" not in text:
            return float(text)
        pairs = (part.rpartition("=") for part in text.split(","))
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError as error:
        raise ConfigError(
            f"--confidence-threshold {text}: give a number from 0 to 1, or one for each class, as "
            "in cat=0.7,dog=0.6."
        ) from error


def unique_stems(names: list[str], *, drawings_alone: bool) -> dict[str, str]:
    """A stem of output files for each image, from the second of a name on with a number.

    Args:
        names: of the images.
        drawings_alone: whether a.jpg and a.png may both have the stem "a".
    """
    taken: set[str] = set()
    stems = {}
    for name in names:
        path = Path(name.split("://")[-1].replace("/", "_") if "://" in name else name)
        stem, number = path.stem, 1
        ending = path.suffix.lower() if drawings_alone else ""
        while f"{stem.lower()}{ending}" in taken:
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(f"{stem.lower()}{ending}")
        stems[name] = stem
    return stems


def check_formats(formats: list[str], videos: list[Input], args: argparse.Namespace) -> None:
    """Refuse what videos cannot have, and --track without its package.

    Raises:
        ConfigError: if the options do not fit the inputs.
    """
    refused = [name for name in formats if name not in OF_FRAMES]
    if videos and refused:
        raise ConfigError(
            f"--save-as {','.join(refused)} needs image files, and {videos[0].name} is a video. "
            f"For videos there are {', '.join(OF_FRAMES)}."
        )
    if args.track and not videos:
        raise ConfigError("--track follows objects through a video, and no input is a video.")
    if videos and args.track:
        Tracker()  # says at once if its package is missing
