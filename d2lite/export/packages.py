"""Packages of the extra `export`, which are imported where a format needs them."""

import importlib
from typing import Any

from d2lite.utils.errors import MissingPackageError

__all__ = ["imported"]


def imported(name: str) -> Any:
    """A module of such a package.

    Args:
        name: dotted.

    Raises:
        MissingPackageError: if it, or a package that it needs, is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"Exported files need the package {error.name or name}: pip install 'd2lite[export]'."
        ) from error
