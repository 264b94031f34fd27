"""Caffe2's blob names of ImageNet ResNets, turned into ours.

A blob is called `res4_22_branch2b_bn_s`: stage, block, branch, then what it is. It becomes
`res4.22.conv2.norm.weight`.
"""

import re
from collections.abc import Iterable

_LEAVES = {
    "w": "weight",
    "b": "bias",
    "bn_s": "norm.weight",
    "bn_gamma": "norm.weight",
    "gn_s": "norm.weight",
    "bn_b": "norm.bias",
    "bn_beta": "norm.bias",
    "gn_b": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_running_mean": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_var": "norm.running_var",
}
_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
# The longest leaf wins: bn_b is no bias named "..._bn".
_LEAF = "|".join(sorted(_LEAVES, key=len, reverse=True))
_BLOCK = re.compile(rf"(res\d)_(\d+)_branch(1|2a|2b|2c)_({_LEAF})")
_STEM = re.compile(rf"(?:res_)?conv1_({_LEAF})")
_OTHER = re.compile(rf"(.+?)_({_LEAF})")


def convert_basic_c2_names(original_keys: Iterable[str]) -> list[str]:
    """Translate blob names of ResNet and ResNeXt backbones.

    Args:
        original_keys: blob names.

    Returns:
        One name for each, in order; names of other layers only get a modern last part.
    """
    return [_convert(name) for name in original_keys]


def _convert(name: str) -> str:
    if found := _BLOCK.fullmatch(name):
        stage, block, branch, leaf = found.groups()
        return f"{stage}.{block}.{_BRANCHES[branch]}.{_LEAVES[leaf]}"
    if found := _STEM.fullmatch(name):
        return f"stem.conv1.{_LEAVES[found[1]]}"
    if found := _OTHER.fullmatch(name):
        return f"{found[1].replace('_', '.')}.{_LEAVES[found[2]]}"
    return name.replace("_", ".")
