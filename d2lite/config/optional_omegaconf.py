"""The classes of omegaconf, or stand-ins that say how to install it when they are used."""

from typing import Any, NoReturn

from d2lite.utils.errors import MissingPackageError

__all__ = ["DictConfig", "ListConfig", "OmegaConf", "SCMode", "TupleConfig"]


class _SaysWhatIsMissing(type):
    """Type of a class that nothing is an instance of and that cannot be used."""

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingPackageError(
            "Python configs need the package omegaconf, which is not installed. "
            "Try: pip install 'd2lite[lazy]'"
        )

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        cls.__getattr__("call")


class _Absent(metaclass=_SaysWhatIsMissing):
    """Stands for a class of omegaconf."""


try:
    from omegaconf import DictConfig, ListConfig, OmegaConf, SCMode
except ImportError:
    DictConfig = ListConfig = OmegaConf = SCMode = _Absent  # type: ignore[misc,assignment]

try:
    from omegaconf import TupleConfig
except ImportError:
    # Before omegaconf 2.4 tuples become lists.
    TupleConfig = _Absent  # type: ignore[misc,assignment]
