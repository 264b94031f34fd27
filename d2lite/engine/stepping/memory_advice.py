"""Messages for exhausted memory: the batch, and the keys that reduce what it needs."""

import multiprocessing
import re
import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from typing import Any

import torch

from d2lite.utils.errors import DataError, OutOfMemoryError

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid.*?\) (is killed|exited unexpectedly)")
# Within this time torch notices that a worker has died.
_NOTICE_SECONDS = 1.0


@contextmanager
def out_of_memory_advice(batch: Any, accumulate_steps: int) -> Iterator[None]:
    """Inside, a step that does not fit into the GPU's memory raises an error with advice.

    Args:
        batch: of this process; for a list of dicts with "image" of shape (C, H, W) the message
            gives the sizes.
        accumulate_steps: number of passes that it is split into.

    Raises:
        OutOfMemoryError: instead of torch's.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise _describe_step(error, batch, accumulate_steps) from error


def _describe_step(error: BaseException, batch: Any, accumulate_steps: int) -> OutOfMemoryError:
    count = len(batch) if hasattr(batch, "__len__") else 0
    samples = [s for s in batch if isinstance(s, Mapping)] if isinstance(batch, list) else []
    lines = [f"This step does not fit into the GPU's memory: {_first_sentence(error)}"]
    per_pass = -(-count // accumulate_steps)
    lines.append(f"  batch: {count} images in this process, {per_pass} at a time")
    lines += [f"    {_describe_sample(sample)}" for sample in samples]
    lines.append("Options that need less memory, those that change the results least first:")
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
        "Then continue with --resume.",
    ]
    return OutOfMemoryError("\n".join(lines))


def out_of_memory_in_evaluation(error: BaseException, dataset_name: str) -> OutOfMemoryError:
    """Describe an evaluation that did not fit.

    Args:
        error: what torch raised.
        dataset_name: of the set.
    """
    return OutOfMemoryError(
        f"The GPU's memory is too small for the evaluation of {dataset_name!r}: "
        f"{_first_sentence(error)} Use TEST.IMS_PER_BATCH 1, smaller images "
        "(INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST) or fewer detections "
        "(TEST.DETECTIONS_PER_IMAGE)."
    )


@contextmanager
def dead_worker_advice() -> Iterator[None]:
    """Inside, the death of a loader's worker process raises an error with advice.

    Raises:
        DataError: instead of torch's RuntimeError, or of the pipe's ConnectionResetError.
    """
    try:
        yield
    except (RuntimeError, ConnectionResetError) as error:
        # The pipe to a killed worker may be found closed before torch notices its death.
        if isinstance(error, RuntimeError) and not _DEAD_WORKER.search(str(error)):
            raise
        if isinstance(error, ConnectionResetError):
            # Its notice is raised from a signal handler: here rather than in what reports the end.
            with suppress(RuntimeError):
                time.sleep(_NOTICE_SECONDS)
        raise DataError(
            f"A worker process of the data loader was killed: {_first_sentence(error)} The system "
            "usually does that when its memory, or the shared memory /dev/shm, is full, or threads "
            "may not be started (`ulimit -u`). Lower DATALOADER.NUM_WORKERS or "
            "DATALOADER.PREFETCH, then continue with --resume." + _advice_on_the_script()
        ) from error


def _advice_on_the_script() -> str:
    """What a script needs whose worker processes are not copies of the process (fork)."""
    if multiprocessing.get_start_method() == "fork":
        return ""
    return (
        " If it happens at the start of a script of your own: worker processes run the script "
        "again, so all that starts the training has to stand below `if __name__ == '__main__':`."
    )


def _first_sentence(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0].partition(". ")[0]
    return (first or type(error).__name__).rstrip(".") + "."


def _describe_sample(sample: Mapping[str, Any]) -> str:
    image, truth = sample.get("image"), sample.get("instances")
    shape = getattr(image, "shape", None)
    size = "?" if shape is None else "x".join(map(str, shape[-2:])) + " pixels"
    objects = f", {len(truth)} objects" if isinstance(truth, Sized) else ""
    return f"{sample.get('file_name', '(no file name)')}: {size} (height x width){objects}"
