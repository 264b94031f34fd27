"""Tools run in this process, as in their own tests."""

from ...tools.conftest import run

__all__ = ["run"]
