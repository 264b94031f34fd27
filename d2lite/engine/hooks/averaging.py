"""Averaged weights: a moving average of what the optimizer makes, to be evaluated and saved.

The weights of single steps vary around an optimum; their average over the last steps is nearer to
it, and detects better at no cost at inference.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.engine.sharding import shard_like
from d2lite.engine.trainer_base import HookBase
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)


class WeightAverage:
    """An exponential moving average of a model's weights, kept beside the model.

    It covers the parameters that are trained and the buffers of the state dict: a batch norm that
    belongs to averaged weights needs statistics of the same age. Whole numbers, such as counters,
    are taken over as they are; frozen parameters are equal in both.

    The average is no second model, so that it works for weights that are spread over processes:
    `applied` exchanges the values in place.

    Attributes:
        decay: share of the old average in the new one, when the warm-up is over.
        warmup: whether the first updates count for more.
        num_updates: how many steps are in the average.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = True) -> None:
        """Begin with the model's present weights.

        Args:
            model: without a wrapper for several processes.
            decay: in [0, 1); 0.999 averages about the last 1,000 steps.
            warmup: use min(decay, (1 + n) / (10 + n)) at update n, so that the weights that the
                run began with are soon forgotten.

        Raises:
            ConfigError: if the decay is another number, or a weight has too few bits for it.

        Source: Polyak and Juditsky 1992; the warm-up is that of TensorFlow's
            ExponentialMovingAverage.
        """
        if not 0.0 <= decay < 1.0:
            raise ConfigError(
                f"MODEL_EMA.DECAY={decay} is no share; use a number of at least 0 and below 1, "
                "for instance 0.999."
            )
        self.decay = decay
        self.warmup = warmup
        self.num_updates = 0
        self._model = model
        self._depth = 0
        self._places, self._first_name = _averaged_places(model)
        self._kept = {name: live.clone() for name, live in self._live().items()}

    def _live(self) -> dict[str, Tensor]:
        # Looked up each time: a module may move a buffer by putting another one in its place.
        return {name: getattr(*place).detach() for name, place in self._places.items()}

    def restart(self) -> None:
        """Forget what was averaged: start again from the model's present weights."""
        self.num_updates = 0
        with torch.no_grad():
            for name, live in self._live().items():
                self._kept[name].copy_(live)

    def update(self) -> None:
        """Take the model's present weights into the average."""
        self.num_updates += 1
        share = 1.0 - self._present_decay()
        live = self._live()
        with torch.no_grad():
            for names in self._names_by_kind().values():
                kept, new = ([tensors[name] for name in names] for tensors in (self._kept, live))
                if kept[0].is_floating_point():
                    torch._foreach_lerp_(kept, new, share)
                else:
                    torch._foreach_copy_(kept, new)

    def _present_decay(self) -> float:
        n = self.num_updates
        return min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay

    def _names_by_kind(self) -> dict[tuple[type, bool], list[str]]:
        # One call for all of a kind: plain and sharded tensors cannot stand in one list.
        kinds: dict[tuple[type, bool], list[str]] = {}
        for name, tensor in self._kept.items():
            kinds.setdefault((type(tensor), tensor.is_floating_point()), []).append(name)
        return kinds

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards its own, also after an exception.

        What is changed inside (statistics of batch norm, for instance) is changed in the average.
        """
        self._depth += 1
        try:
            if self._depth == 1:
                self._exchange()
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._exchange()

    def _exchange(self) -> None:
        with torch.no_grad():
            for name, live in self._live().items():
                # One tensor at a time: a copy of the whole model may not fit.
                value = live.clone()
                live.copy_(self._kept[name])
                self._kept[name].copy_(value)
        for module in self._model.modules():
            # FSDP2 may still hold gathered copies of the weights that were there before.
            reshard = getattr(module, "reshard", None)
            if callable(reshard):
                reshard()

    def model_state(self) -> dict[str, Any]:
        """The model's state dict with the averaged weights in it."""
        state = self._model.state_dict()
        averaged = self._live() if self._depth else self._kept
        for name, first in self._first_name.items():
            state[name] = averaged[first].detach()
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the weights of the training.

        The averaged ones are not in it: a checkpoint has them as its model.
        """
        trained = dict(self._kept) if self._depth else self._live()
        return {"num_updates": self.num_updates, "training_weights": trained}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned; the model has to hold the averaged weights.

        Raises:
            ConfigError: if other weights were trained then.
        """
        trained = state_dict["training_weights"]
        if trained.keys() != self._places.keys():
            changed = sorted(trained.keys() ^ self._places.keys())
            raise ConfigError(
                f"other weights are trained now: {', '.join(changed[:5])}"
                f"{', ...' if len(changed) > 5 else ''} ({len(changed)} in all); see "
                "MODEL.BACKBONE.FREEZE_AT"
            )
        self.restart()
        self.num_updates = int(state_dict["num_updates"])
        with torch.no_grad():
            for name, live in self._live().items():
                live.copy_(shard_like(trained[name], live))


class WeightAveraging(HookBase):
    """Keeps a `WeightAverage` up to date, and over a resume.

    Register it after what changes the weights and before what evaluates or saves them.
    """

    def __init__(self, average: WeightAverage) -> None:
        """Make a hook.

        Args:
            average: of the trainer's model.
        """
        self.average = average
        self._was_loaded = False

    def before_train(self) -> None:
        """Begin with the weights that the run begins with, unless an average was loaded."""
        average = self.average
        if not self._was_loaded:
            if self.trainer.iter > 0:
                logger.warning(
                    "The checkpoint holds no averaged weights (it was saved without "
                    "MODEL_EMA.ENABLED): the average begins with the loaded ones"
                )
            average.restart()
        # A second train() goes on with the average that there is.
        self._was_loaded = True
        logger.info(
            f"Weights are averaged with decay {average.decay:g} ({average.num_updates} steps so "
            'far); evaluation, and "model" in the checkpoints, are the averaged ones'
        )

    def after_step(self) -> None:
        """Take the step's weights into the average."""
        self.average.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the average."""
        return self.average.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.average.load_state_dict(state_dict)
        self._was_loaded = True


def _averaged_places(
    model: nn.Module,
) -> tuple[dict[str, tuple[nn.Module, str]], dict[str, str]]:
    """Find what to average.

    Returns:
        Name in the state dict -> (module, name of its attribute), each tensor once; and, for all
        names in the state dict that mean one of them, the name under which it stands there.
    """
    attributes = {
        id(tensor): (module, name)
        for module in model.modules()
        for name, tensor in (
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        )
    }
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    places: dict[str, tuple[nn.Module, str]] = {}
    first_name: dict[str, str] = {}
    name_of: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in attributes or id(value) in frozen:
            continue
        if value.is_floating_point() and value.element_size() < 4:
            raise ConfigError(
                f"The weight {name} is {value.dtype}, in which an average with MODEL_EMA.DECAY "
                "stands still. Keep the weights in float32 (SOLVER.AMP computes in half "
                "precision), or set MODEL_EMA.ENABLED False."
            )
        first = name_of.setdefault(id(value), name)
        first_name[name] = first
        if first == name:
            places[name] = attributes[id(value)]
    return places, first_name
