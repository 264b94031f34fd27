"""MODEL.COMPILE: the parts of a model that torch.compile makes faster."""

import logging

import torch
from torch import nn

from d2lite.utils.errors import ConfigError

__all__ = ["compile_parts_"]

logger = logging.getLogger(__name__)


def compile_parts_(model: nn.Module, *, backend: str = "inductor") -> list[str]:
    """Let torch.compile work on the parts of a model that the images' size alone decides.

    The work itself is done at the first call of each part, once for training and once for
    evaluation. A part is captured once for images of any size; torch may still generate other code
    for some sizes. Matching, sampling, proposals and NMS stay as they are,
    since the shapes of their results depend on values. Parts keep their names and classes, so a
    state dict stays the same, and a copy of the model is not compiled.

    Args:
        model: on its device; of a `Detector` the parts of `compiled_parts` that it has, of another
            model its `backbone`.
        backend: of torch.compile; those that generate no code, such as "aot_eager", are for tests.

    Returns:
        the names of the parts.

    Raises:
        ConfigError: if the model has none of them, or torch.compile does not work on this machine.
    """
    modules = dict(model.named_modules())
    names = [n for n in getattr(model, "compiled_parts", ("backbone",)) if n in modules]
    if not names:
        raise ConfigError(
            f"MODEL.COMPILE True: {type(model).__name__} has no part that is known to compile. "
            "Name some in the class attribute `compiled_parts`, or leave MODEL.COMPILE out."
        )
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    _check_compiler(device, backend)
    for name in names:
        # Sizes are symbols from the start: an image of another size is not captured again.
        modules[name].compile(dynamic=True, backend=backend)
    logger.info(f"Compiled at their first call: {', '.join(names)} (MODEL.COMPILE)")
    return names


def _check_compiler(device: torch.device, backend: str) -> None:
    """Compile a small function, which fails here and not in the first step."""
    try:
        torch.compile(lambda x: x.sin() + 1, backend=backend)(torch.zeros(8, device=device))
    except Exception as error:
        # Broad on purpose: each backend of torch has its own types, which are not public.
        reason = getattr(error, "inner_exception", error)
        first = str(reason).strip().partition("\n")[0]
        raise ConfigError(
            f"MODEL.COMPILE True: torch.compile does not work on {device.type!r} here "
            f"({type(reason).__name__}: {first}). Install a C++ compiler (g++) for a CPU, and "
            "triton beside it for CUDA; or leave MODEL.COMPILE out."
        ) from error
