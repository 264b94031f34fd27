"""Comparing the version of torch, for code that supports several."""

import torch

__all__ = ["min_torch_version"]


def min_torch_version(min_version: str) -> bool:
    """Whether the installed torch is of this version or a later one.

    Args:
        min_version: such as "1.10"; more parts ("1.10.1") are compared as well.
    """
    wanted = [int(part) for part in min_version.split(".")]
    # "2.14.0+cpu" and "2.15.0.dev1" count as 2.14.0 and 2.15.0.
    installed = torch.__version__.split("+")[0].split(".")[: len(wanted)]
    return [int("".join(filter(str.isdigit, part)) or 0) for part in installed] >= wanted
