"""What to tell when memory runs out: the batch that it was, and the keys that need less."""

import re
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Any

from d2lite.utils.errors import DataError, OutOfMemoryError

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid.*?\) (is killed|exited unexpectedly)")


def out_of_memory(error: BaseException, batch: Any, accumulate_steps: int) -> OutOfMemoryError:
    """Describe a step that did not fit.

    Args:
        error: what torch raised.
        batch: of this process; a list of dicts with "image" of shape (C, H, W) tells most.
        accumulate_steps: number of passes that it was split into.
    """
    count = len(batch) if hasattr(batch, "__len__") else 0
    samples = [s for s in batch if isinstance(s, Mapping)] if isinstance(batch, list) else []
    lines = [f"The GPU's memory does not hold this step: {_first_sentence(error)}"]
    per_pass = -(-count // accumulate_steps)
    lines.append(f"  batch: {count} images in this process, {per_pass} at a time")
    lines += [f"    {_describe_sample(sample)}" for sample in samples]
    lines.append("Less memory takes, from what changes the results least:")
    if per_pass > 1:
        lines.append(
            f"  SOLVER.ACCUMULATE_STEPS {min(count, 2 * accumulate_steps)}  (the same batch in "
            "smaller passes)"
        )
    lines += [
        "  SOLVER.AMP.ENABLED True  (half precision)",
        "  INPUT.MAX_SIZE_TRAIN, INPUT.MIN_SIZE_TRAIN  (smaller images)",
        "  SOLVER.IMS_PER_BATCH  (fewer images; lower SOLVER.BASE_LR in proportion)",
        "  MODEL.BACKBONE.FREEZE_AT  (fewer layers are trained)",
        "Then go on with --resume.",
    ]
    return OutOfMemoryError("\n".join(lines))


def out_of_memory_in_evaluation(error: BaseException, dataset_name: str) -> OutOfMemoryError:
    """Describe an evaluation that did not fit.

    Args:
        error: what torch raised.
        dataset_name: of the set.
    """
    return OutOfMemoryError(
        f"The GPU's memory does not hold the evaluation of {dataset_name!r}: "
        f"{_first_sentence(error)} Less memory takes TEST.IMS_PER_BATCH 1, smaller images "
        "(INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST) or fewer detections "
        "(TEST.DETECTIONS_PER_IMAGE)."
    )


def dead_worker(error: BaseException) -> DataError | None:
    """Describe the death of a loader's worker process.

    Args:
        error: anything.

    Returns:
        An error to raise instead; None if it is none of these.
    """
    if not isinstance(error, RuntimeError) or not _DEAD_WORKER.search(str(error)):
        return None
    return DataError(
        f"A worker process of the data loader was killed: {_first_sentence(error)} Mostly the "
        "system does that when its memory, or the shared memory /dev/shm, is full. Lower "
        "DATALOADER.NUM_WORKERS or DATALOADER.PREFETCH, then go on with --resume."
    )


@contextmanager
def telling_dead_workers() -> Iterator[None]:
    """Inside, the death of a loader's worker is told as a `DataError` with its mend."""
    try:
        yield
    except RuntimeError as error:
        told = dead_worker(error)
        if told is None:
            raise
        raise told from error


def _first_sentence(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0].partition(". ")[0]
    return (first or type(error).__name__).rstrip(".") + "."


def _describe_sample(sample: Mapping[str, Any]) -> str:
    image, truth = sample.get("image"), sample.get("instances")
    shape = getattr(image, "shape", None)
    size = "?" if shape is None else "x".join(map(str, shape[-2:])) + " pixels"
    objects = f", {len(truth)} objects" if isinstance(truth, Sized) else ""
    return f"{sample.get('file_name', '(no file name)')}: {size} (height x width){objects}"
