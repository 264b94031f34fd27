"""Where the time of a step goes: operators by the module that called them, and a trace."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from d2lite.utils.errors import OutputError

from .counting import entering_modules

__all__ = ["Cost", "profile_step"]

_MARK = "module: "
# Names of modules are cut here, so that the blocks of a stage count together.
_DEPTH = 3
_BACKWARD = "autograd::engine::evaluate_function"


class Cost(NamedTuple):
    """What one operator took in one module, inner operators left out.

    Attributes:
        module: such as "backbone.bottom_up.res4"; "" outside of the model.
        operator: such as "aten::conv2d"; "backward of ..." in the backward pass.
        seconds: of the device; of the CPU where there is none.
        calls: how many.
    """

    module: str
    operator: str
    seconds: float
    calls: int


def profile_step(
    action: Callable[[], object], model: nn.Module, trace: Path, *, is_cuda: bool = False
) -> list[Cost]:
    """Record one call.

    Args:
        action: is called twice, since the first recording is slow.
        model: whose modules are named.
        trace: a file for chrome://tracing or Perfetto; its folder is made.
        is_cuda: measure the GPU's time.

    Returns:
        All costs, the largest first.

    Raises:
        OutputError: if the trace cannot be written.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities):
        action()
    opened: list[Any] = []

    def enter(name: str) -> None:
        mark = record_function(_MARK + ".".join(name.split(".")[:_DEPTH]))
        mark.__enter__()
        opened.append(mark)

    def leave() -> None:
        opened.pop().__exit__(None, None, None)

    with entering_modules(model, enter, leave), profile(activities=activities) as recording:
        action()
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.unlink(missing_ok=True)
    recording.export_chrome_trace(str(trace))
    if not trace.is_file():
        # On a full disk torch writes nothing and raises nothing.
        raise OutputError(f"Cannot write {trace}: is its disk full? Choose another --profile DIR.")
    return _costs(list(recording.events() or ()), is_cuda)


def _costs(events: list[Any], is_cuda: bool) -> list[Cost]:
    # Autograd gives an operator of the forward pass and its gradient one number. Operators without
    # a gradient show the number that the next one will get, so the last is the right one.
    module_of: dict[int, str] = {}
    for event in events:
        if event.sequence_nr >= 0 and _outer(event, _BACKWARD) is None:
            module_of[event.sequence_nr] = _module(event)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    calls: dict[tuple[str, str], int] = defaultdict(int)
    for event in events:
        if "::" not in event.name or event.name.startswith(_BACKWARD):
            continue
        gradient = _outer(event, _BACKWARD)
        if gradient is None:
            key = _module(event), event.name
        else:
            key = module_of.get(gradient.sequence_nr, ""), f"backward of {event.name}"
        taken = event.self_device_time_total if is_cuda else event.self_cpu_time_total
        seconds[key] += taken / 1e6
        calls[key] += 1
    costs = [Cost(*key, seconds[key], calls[key]) for key in seconds]
    return sorted(costs, key=lambda cost: -cost.seconds)


def _module(event: Any) -> str:
    mark = _outer(event, _MARK)
    return mark.name.removeprefix(_MARK) if mark is not None else ""


def _outer(event: Any, beginning: str) -> Any | None:
    """The innermost event around this one whose name begins so."""
    while event is not None and not event.name.startswith(beginning):
        event = event.cpu_parent
    return event
