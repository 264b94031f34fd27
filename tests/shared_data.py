"""Photographs that may lie beside the checkout; tests that want them skip where they do not."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


def shared_folder() -> Path:
    """The shared folder: `$D2LITE_SHARED`, else `../shared` beside the checkout."""
    return Path(os.environ.get("D2LITE_SHARED") or CHECKOUT.parent / "shared")


def shared_data(name: str) -> Path:
    """Path of a data set of the shared folder, or skip the test.

    Args:
        name: for instance "fruit_nuts" or "coco_tiny/annotations.json".
    """
    path = shared_folder() / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not in {shared_folder() / 'data'}")
    return path
