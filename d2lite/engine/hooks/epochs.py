"""EpochCounter: logs how often the training data have been seen."""

from d2lite.engine.trainer_base import HookBase


class EpochCounter(HookBase):
    """Puts the scalar "epoch", a fraction, which the writers show beside the iteration."""

    def __init__(self, batches_per_epoch: float) -> None:
        """Make a hook.

        Args:
            batches_per_epoch: batches that show every training image once, on average.
        """
        self._batches_per_epoch = batches_per_epoch

    def after_step(self) -> None:
        """Put the number of epochs that are done."""
        epoch = (self.trainer.iter + 1) / self._batches_per_epoch
        self.trainer.storage.put_scalar("epoch", round(epoch, 4), smoothing_hint=False)
