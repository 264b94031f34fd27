"""A user's file, as `--import` takes it: the images and models of the torchrun tests."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.utils import comm
from tests.engine import ddp_job

ddp_job.register_sets(Path(os.environ["D2LITE_TEST_FOLDER"]))


@META_ARCH_REGISTRY.register()
class FailingDetector(ddp_job.StackDetector):
    """Raises in the third step of rank 1."""

    steps = 0

    def forward(self, batched_inputs):
        self.steps += self.training
        if self.steps == 3 and comm.get_rank() == 1:
            raise ZeroDivisionError("in one rank alone")
        return super().forward(batched_inputs)


def kill_rank_1_once() -> None:
    mark = Path(os.environ["D2LITE_TEST_FOLDER"], "killed")
    if comm.get_rank() == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@META_ARCH_REGISTRY.register()
class KilledOnceDetector(ddp_job.StackDetector):
    """Its process of rank 1 is killed in the sixth step, the first time that it comes to it."""

    steps = 0

    def forward(self, batched_inputs):
        self.steps += self.training
        if self.steps == 6:
            kill_rank_1_once()
        return super().forward(batched_inputs)


@META_ARCH_REGISTRY.register()
class KilledInEvaluationDetector(ddp_job.StackDetector):
    """Its process of rank 1 is killed once, while it predicts."""

    def forward(self, batched_inputs):
        if not self.training:
            kill_rank_1_once()
        return super().forward(batched_inputs)
