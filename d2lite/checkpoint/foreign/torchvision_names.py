"""torchvision's names of ResNet weights, turned into ours."""

import re
from collections.abc import Mapping
from typing import TypeVar

_T = TypeVar("_T")
_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(.+)")


def is_torchvision_resnet(names: Mapping[str, object]) -> bool:
    """Whether the names are those of a ResNet as torchvision publishes it."""
    return "conv1.weight" in names and "layer1.0.conv1.weight" in names


def rename_torchvision_resnet(weights: Mapping[str, _T]) -> dict[str, _T]:
    """Give each weight the name it has inside our ResNet; the classifier keeps its own."""
    return {_rename(name): value for name, value in weights.items()}


def resnet_rules(
    whole: str = "backbone.bottom_up", theirs: str = "backbone"
) -> list[tuple[str, str]]:
    """A ResNet with the names of torchvision, as many libraries have it, and what it is named here.

    Args:
        whole: what comes before our names.
        theirs: a pattern of what comes before theirs.
    """
    rules = [
        (rf"{theirs}.conv1", f"{whole}.stem.conv1"),
        (rf"{theirs}.(?:bn|gn)1", f"{whole}.stem.conv1.norm"),
    ]
    for stage in range(1, 5):
        block, ours = rf"{theirs}.layer{stage}.(\d+)", rf"{whole}.res{stage + 1}.\1"
        # A deformable convolution lies beside the one that gives its offsets, here and there.
        rules += [
            (rf"{block}.conv2.conv_offset", rf"{ours}.conv2_offset"),
            (rf"{block}.conv(\d)", rf"{ours}.conv\2"),
            (rf"{block}.(?:bn|gn)(\d)", rf"{ours}.conv\2.norm"),
            (rf"{block}.downsample.0", rf"{ours}.shortcut"),
            (rf"{block}.downsample.1", rf"{ours}.shortcut.norm"),
            (rf"{block}.context_block.conv_mask", rf"{ours}.plugin.mask"),
            (rf"{block}.context_block.channel_add_conv", rf"{ours}.plugin.add"),
        ]
    return rules


def _rename(name: str) -> str:
    found = _BLOCK.fullmatch(name)
    if found is None:
        return f"stem.{_rename_inside(name)}" if name.startswith(("conv1", "bn1")) else name
    stage, block, inside = found.groups()
    return f"res{int(stage) + 1}.{block}.{_rename_inside(inside)}"


def _rename_inside(name: str) -> str:
    module, _, leaf = name.rpartition(".")
    if module.startswith("bn"):
        return f"conv{module.removeprefix('bn')}.norm.{leaf}"
    shortcut = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}
    return f"{shortcut.get(module, module)}.{leaf}"
