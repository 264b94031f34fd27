"""What each process of the distributed test runs; a module, so that it can be spawned."""

from collections.abc import Iterator
from pathlib import Path

import torch

from d2lite.engine import SimpleTrainer, create_ddp_model
from d2lite.utils import comm

from .toys import LineModel, PointStream, make_sgd

STEPS = 3


class RankStream(PointStream):
    """This process's slice of each batch."""

    def __iter__(self) -> Iterator[list[dict]]:
        share = self.batch_size // comm.get_world_size()
        first = comm.get_rank() * share
        for batch in super().__iter__():
            yield batch[first : first + share]


def train_and_save(folder: str) -> None:
    """Train with accumulation and save weights and losses from the main process."""
    model = create_ddp_model(LineModel(), broadcast_buffers=False)
    trainer = SimpleTrainer(model, RankStream(8), make_sgd(model), accumulate_steps=2)
    trainer.train(0, STEPS)
    if comm.is_main_process():
        losses = trainer.storage.history("total_loss").values()
        weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        content = {"weights": weights, "losses": [float(loss) for loss, _ in losses]}
        torch.save(content, Path(folder) / f"{comm.get_world_size()}.pth")
