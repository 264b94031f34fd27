"""Helpers of tests that people wrote for detectron2 (`d2lite.utils.testing`)."""

import io
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import LazyConfig
from d2lite.data.catalog import DatasetCatalog
from d2lite.data.images.image_io import read_image
from d2lite.model_zoo import get
from d2lite.structures import Boxes, Instances, ROIMasks

__all__ = [
    "assert_instances_allclose",
    "convert_scripted_instances",
    "get_model_no_weights",
    "get_sample_coco_image",
    "random_boxes",
    "reload_lazy_config",
    "reload_script_model",
]


def get_model_no_weights(config_path: str) -> nn.Module:
    """Build a published model on the CPU, with random weights.

    Args:
        config_path: as for `model_zoo.get`.
    """
    return get(config_path, trained=False, device="cpu")


def random_boxes(
    num_boxes: int, max_coord: float = 100, device: str | torch.device = "cpu"
) -> Tensor:
    """Draw boxes whose sides are at least one pixel.

    Args:
        num_boxes: how many.
        max_coord: no coordinate is larger.
        device: where they are made.

    Returns:
        (num_boxes, 4) float, xyxy in pixels.
    """
    half = torch.rand(num_boxes, 4, device=device) * (max_coord / 2)
    low, size = half[:, :2], half[:, 2:].clamp(min=1)
    return torch.cat((low, low + size), dim=1)


def get_sample_coco_image(tensor: bool = True) -> Any:
    """A photograph of COCO where the dataset is there, else a drawn image.

    Args:
        tensor: a (3, H, W) float tensor, BGR in [0, 255]; else an (H, W, 3) uint8 array.
    """
    try:
        record = DatasetCatalog.get("coco_2017_val_100")[0]
    except FileNotFoundError:
        record = DatasetCatalog.get("shapes_val")[0]
    pixels = read_image(record["file_name"], format="BGR")
    if not tensor:
        return pixels
    return torch.as_tensor(pixels.astype("float32").transpose(2, 0, 1).copy())


def assert_instances_allclose(
    input: Instances,
    other: Instances,
    *,
    rtol: float = 1e-5,
    msg: str = "",
    size_as_tensor: bool = False,
) -> None:
    """Compare two sets of instances field by field.

    Args:
        input: the first ones.
        other: the second ones.
        rtol: how much numbers may differ, as a share of the largest value of a field.
        msg: begins the text of an error.
        size_as_tensor: sizes may be tensors, as in traced models.

    Raises:
        AssertionError: if they differ.
    """
    sizes = [tuple(int(side) for side in given.image_size) for given in (input, other)]
    if not size_as_tensor:
        sizes = [input.image_size, other.image_size]
    assert sizes[0] == sizes[1], f"{msg} image sizes {sizes[0]} and {sizes[1]}"
    names = sorted(input.get_fields())
    assert names == sorted(other.get_fields()), (
        f"{msg} fields {names} and {sorted(other.get_fields())}"
    )
    for name in names:
        ours, theirs = _plain(input.get(name)), _plain(other.get(name))
        if not isinstance(ours, Tensor):
            assert ours == theirs, f"{msg} {name}: {ours} and {theirs}"
            continue
        assert ours.shape == theirs.shape, f"{msg} {name}: {ours.shape} and {theirs.shape}"
        ours, theirs = ours.double(), theirs.double()
        largest = float(theirs.abs().max()) if theirs.numel() else 0.0
        assert torch.allclose(ours, theirs, rtol=0.0, atol=rtol * largest), f"{msg} {name} differs"


def _plain(value: Any) -> Any:
    return value.tensor if isinstance(value, Boxes | ROIMasks) else value


def convert_scripted_instances(instances: Any) -> Instances:
    """`Instances` of what a scripted model gives.

    Args:
        instances: see `d2lite.export.torchscript_patch.patch_instances`.
    """
    fields = {name: getattr(instances, name) for name in instances.get_fields()}
    boxes = {
        name: Boxes(value.tensor) for name, value in fields.items() if hasattr(value, "tensor")
    }
    return Instances(tuple(instances.image_size), **{**fields, **boxes})


def reload_script_model(module: Any) -> Any:
    """Save a scripted or traced module and load it again.

    Args:
        module: what `torch.jit.script` or `torch.jit.trace` made.
    """
    stream = io.BytesIO()
    torch.jit.save(module, stream)
    stream.seek(0)
    return torch.jit.load(stream)


def reload_lazy_config(cfg: Any) -> Any:
    """Save a Python configuration as YAML and load it again.

    Args:
        cfg: as for `LazyConfig.save`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "config.yaml")
        LazyConfig.save(cfg, path)
        return LazyConfig.load(path)
