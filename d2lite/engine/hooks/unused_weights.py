"""UnusedWeightsCheck: in several processes each weight needs a gradient."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from d2lite.engine.trainer_base import HookBase
from d2lite.utils.comm import unwrap
from d2lite.utils.errors import ConfigError

_SHOWN = 5


class UnusedWeightsCheck(HookBase):
    """Refuses after the first backward pass what DistributedDataParallel would fail at later.

    It waits for the gradients of all weights that learn, and one that no loss depends on ends the
    second step with an error that does not name it.
    """

    def __init__(self, model: nn.Module) -> None:
        """Make a hook.

        Args:
            model: see `suits`.
        """
        self._model = model
        self._is_done = False

    @staticmethod
    def suits(model: nn.Module) -> bool:
        """Whether a model needs the check: it is wrapped, and the wrapper does not look itself.

        Args:
            model: of a trainer.
        """
        is_wrapped = isinstance(model, DistributedDataParallel)
        return is_wrapped and not (model.find_unused_parameters or model.static_graph)

    def after_backward(self) -> None:
        """Look once.

        Raises:
            ConfigError: naming the weights without a gradient.
        """
        if self._is_done:
            return
        self._is_done = True
        weights = unwrap(self._model).named_parameters()
        learning = {name: weight for name, weight in weights if weight.requires_grad}
        unused = [name for name, weight in learning.items() if weight.grad is None]
        if unused:
            more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
            raise ConfigError(
                f"{len(unused)} of the model's {len(learning)} weights get no gradient: "
                f"{', '.join(unused[:_SHOWN])}{more}. A training in several processes needs one "
                "for each. Take these layers out of the config (maps that no head reads, say), "
                "freeze them, or set train.ddp.find_unused_parameters=True in a Python config."
            )
