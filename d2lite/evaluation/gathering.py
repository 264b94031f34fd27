"""The predictions of all processes in one place, and which images they are of."""

import logging
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from d2lite.utils.comm import gather, is_main_process, synchronize

T = TypeVar("T")

logger = logging.getLogger(__name__)


def gather_parts(part: T, *, distributed: bool = True) -> list[T] | None:
    """Bring what each process collected to the main process; all processes must call it.

    Args:
        part: what this process collected.
        distributed: False if this process holds everything.

    Returns:
        The parts in the order of ranks; None on processes other than the main one.
    """
    if not distributed:
        return [part]
    synchronize()
    parts = gather(part, dst=0)
    return parts if is_main_process() else None


def warn_of_coverage(
    dataset_name: str,
    times: Mapping[Any, int],
    known: Collection[Any],
    *,
    repeats: str,
    missing: str,
) -> None:
    """Say which images were predicted more than once, and which never.

    Args:
        dataset_name: for the warnings.
        times: how often each image was predicted.
        known: the images of the truth.
        repeats: what is done with further predictions of an image.
        missing: what images without a prediction cost.
    """
    repeated = [image for image, count in times.items() if count > 1]
    if repeated:
        logger.warning(
            "Evaluation of '%s': %d images were predicted more than once, for instance %r; %s. A "
            "data loader that repeats images does this.",
            dataset_name,
            len(repeated),
            repeated[0],
            repeats,
        )
    unseen = [image for image in known if image not in times]
    if unseen:
        logger.warning(
            "Evaluation of '%s': %d of the %d images were not predicted, for instance %r; %s.",
            dataset_name,
            len(unseen),
            len(known),
            unseen[0],
            missing,
        )
