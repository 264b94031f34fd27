"""A weight that no loss depends on is named, before DistributedDataParallel fails at it."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from d2lite.engine import SimpleTrainer, hooks
from d2lite.utils.comm import unwrap
from d2lite.utils.errors import ConfigError


class Two(nn.Module):
    """Two layers, of which the loss may depend on one."""

    def __init__(self, *, uses_both: bool) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(2, 1), nn.Linear(2, 1)
        self.uses_both = uses_both

    def forward(self, batch):
        loss = self.used(batch).sum()
        return {"loss": loss + self.spare(batch).sum() if self.uses_both else loss}


@pytest.fixture
def group():
    """A group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def train(model: nn.Module) -> bool:
    """Make three steps; whether the layer that the loss depends on has learned."""
    before = unwrap(model).used.weight.clone()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = SimpleTrainer(model, [torch.ones(1, 2)] * 3, optimizer)
    if hooks.UnusedWeightsCheck.suits(model):
        trainer.register_hooks([hooks.UnusedWeightsCheck(model)])
    trainer.train(0, 3)
    return not torch.equal(unwrap(model).used.weight, before)


def test_weights_without_a_gradient_are_named(group):
    with pytest.raises(ConfigError, match=r"2 of the model's 4 weights .*spare.weight, spare.bias"):
        train(DistributedDataParallel(Two(uses_both=False)))


def test_other_models_train(group):
    assert train(DistributedDataParallel(Two(uses_both=True)))
    assert train(DistributedDataParallel(Two(uses_both=False), find_unused_parameters=True))
    assert train(Two(uses_both=False))
    frozen = Two(uses_both=False)
    frozen.spare.requires_grad_(False)
    assert train(DistributedDataParallel(frozen))
