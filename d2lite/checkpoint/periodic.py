"""PeriodicCheckpointer: a checkpoint after each period of iterations, and one at the end."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from .checkpointer import Checkpointer


class PeriodicCheckpointer:
    """Calls `checkpointer.save` at a period and deletes older files.

    Args:
        checkpointer: does the saving.
        period: iterations between two checkpoints.
        max_iter: number of iterations of the run; after the last one "PREFIX_final" is saved.
        max_to_keep: how many of the newest periodic checkpoints stay; None keeps all. Those that
            an earlier part of the run left in the folder count too.
        file_prefix: first part of the file names.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        period: int,
        max_iter: int | None = None,
        max_to_keep: int | None = None,
        file_prefix: str = "model",
    ) -> None:
        if period < 1:
            raise ValueError(f"SOLVER.CHECKPOINT_PERIOD must be 1 or more, found {period}.")
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(f"max_to_keep must be 1 or more, or None, found {max_to_keep}.")
        self.checkpointer = checkpointer
        self.period = period
        self.max_iter = max_iter
        self.max_to_keep = max_to_keep
        self.file_prefix = file_prefix

    def step(self, iteration: int, **kwargs: Any) -> None:
        """Save if a period or the run ends with this iteration.

        Args:
            iteration: number of the iteration that has just ended, from 0.
            **kwargs: further plain values for the file.
        """
        if (iteration + 1) % self.period == 0:
            self.save(f"{self.file_prefix}_{iteration:07d}", iteration=iteration, **kwargs)
            self._delete_old(iteration)
        if self.max_iter is not None and iteration + 1 >= self.max_iter:
            self.save(f"{self.file_prefix}_final", iteration=iteration, **kwargs)

    def save(self, name: str, **kwargs: Any) -> None:
        """Save under any name."""
        self.checkpointer.save(name, **kwargs)

    def _delete_old(self, saved: int) -> None:
        if self.max_to_keep is None or not self.checkpointer.save_to_disk:
            return
        pattern = re.compile(re.escape(self.file_prefix) + r"_\d{7,}\.pth")
        files = map(Path, self.checkpointer.get_all_checkpoint_files())
        periodic = [path for path in files if pattern.fullmatch(path.name)]
        number = {path: int(path.stem.rpartition("_")[2]) for path in periodic}
        # An older run in the folder may have higher numbers; what was just saved is the newest,
        # also where the clock was set back.
        periodic.sort(key=lambda p: (number[p] == saved, p.stat().st_mtime_ns, number[p]))
        for path in periodic[: -self.max_to_keep]:
            with suppress(FileNotFoundError):
                path.unlink()
