"""A detector's function as a graph of operators, for batches and images of any size."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram

from .function import DetectorFunction
from .preprocessing import MOST_PIXELS

# Sides of the image that a graph is recorded with; no shape in it is one of these.
_EXAMPLE = (2, 120, 168)


def example_inputs(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of two images of different sizes.

    Args:
        channels: of an image.
    """
    count, height, width = _EXAMPLE
    ramp = torch.arange(height * width, dtype=torch.int64).reshape(height, width) % 251
    images = (ramp[None, None] * torch.arange(1, channels + 1)[None, :, None, None]) % 256
    sizes = torch.tensor([[height, width], [height - 16, width - 8]])
    return images.expand(count, -1, -1, -1).to(torch.uint8).contiguous(), sizes


@contextmanager
def _symbolic_positions() -> Iterator[None]:
    """Let timm's rotary positions be computed in the graph.

    They take `float` of the sides of a map, which makes numbers of an image's size in a graph.
    """
    module = sys.modules.get("timm.layers.pos_embed_sincos")
    if module is None:
        yield
        return
    vars(module)["float"] = torch.sym_float
    try:
        yield
    finally:
        del vars(module)["float"]


def record_program(function: DetectorFunction, channels: int = 3) -> ExportedProgram:
    """Record the graph.

    Args:
        function: in evaluation mode.
        channels: of an image.
    """
    batch = Dim("batch", min=1, max=1024)
    sides = {
        axis: Dim(name, min=1, max=MOST_PIXELS) for axis, name in ((2, "height"), (3, "width"))
    }
    with torch.no_grad(), warnings.catch_warnings(), _symbolic_positions():
        # torchvision's NMS uses a function that torch has renamed.
        warnings.filterwarnings("ignore", "`create_unbacked_symint`", FutureWarning)
        return torch.export.export(
            function,
            example_inputs(channels),
            dynamic_shapes={"images": {0: batch, **sides}, "sizes": {0: batch}},
            strict=False,
        )
