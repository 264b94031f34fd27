"""The two catalogs: a dataset's name to its function, and a dataset's name to its metadata.

A name may also say where its files are, as in "voc:bccd@trainval": the part before the colon then
chooses a `NameScheme`, which registers the name when somebody first asks for it.
"""

import logging
import re
from collections import UserDict
from collections.abc import Callable, Iterable, KeysView, ValuesView
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from d2lite.utils.errors import (
    DataError,
    InputTypeError,
    MissingFileError,
    TakenNameError,
    UnknownNameError,
)

__all__ = [
    "DatasetCatalog",
    "Metadata",
    "MetadataCatalog",
    "NameScheme",
    "dataset_file_stem",
    "register_name_scheme",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NameScheme:
    """How names of the form "SCHEME:..." become datasets.

    Attributes:
        form: the whole form, for messages, as in "voc:ROOT@SPLIT".
        is_well_formed: whether a name has that form; looks at the text alone.
        register: puts the name into both catalogs, and raises `ConfigError` if it is malformed.
    """

    form: str
    is_well_formed: Callable[[str], bool]
    register: Callable[[str], None]


# Ends of keys whose values are lists by the number of a class or a keypoint.
_LISTS = ("_classes", "_colors", "_names")
# Keys in code that is older than detectron2 0.1.
_OLD_NAMES = {
    "class_names": "thing_classes",
    "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
    "stuff_class_names": "stuff_classes",
}

# Of a message: forms of strings, and how many registered names.
_COMMON = ("auto", "coco", "voc", "yolo", "labelme")
_SHOWN = 5

_schemes: dict[str, NameScheme] = {}


def register_name_scheme(scheme: str, handler: NameScheme) -> None:
    """Let every name that begins with `scheme` and a colon register itself at its first use."""
    _schemes[scheme] = handler


def _scheme_of(name: Any) -> NameScheme | None:
    return _schemes.get(name.partition(":")[0]) if isinstance(name, str) and ":" in name else None


def dataset_file_stem(name: str) -> str:
    """A dataset's name with nothing in it that a file name must not have, such as slashes."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.")


def _no_such_dataset(name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that nobody registered, with the names that look like it."""
    known = list(known)
    begin = f"No dataset is registered under the name {name!r}"
    if Path(str(name)).exists():
        return UnknownNameError(
            f"{begin}. It is a path: write 'auto:{name}', see docs/datasets.md."
        )
    kind, colon, files = str(name).partition(":")
    near = get_close_matches(kind, _schemes, n=1) if colon else []
    near = [f"{one}:{files}" for one in near] or get_close_matches(str(name), known, n=3)
    if near:
        return UnknownNameError(f"{begin}. Did you mean {' or '.join(map(repr, near))}?")
    forms = ", ".join(_schemes[kind].form for kind in _COMMON if kind in _schemes)
    # All of them would fill a screen; a user's own are the last ones.
    shown = ", ".join(known[-_SHOWN:])
    return UnknownNameError(
        f"{begin}, and there is no such folder or file (working folder {Path.cwd()}). Name a "
        f"dataset by its files ({forms}; docs/datasets.md has all forms), or register it in a "
        "module that --import names. The last of "
        f"{len(known)} registered names: {shown or 'none'}."
    )


class _Catalog(UserDict[str, T]):
    """Names of datasets with something for each; a name that is asked for must be there."""

    _what: str  # what the names stand for

    def list(self) -> list[str]:
        """All names, in the order in which they came."""
        return list(self.data)

    def remove(self, name: str) -> None:
        """Take one name out; the other catalog keeps what it has of it."""
        if name not in self.data:
            raise _no_such_dataset(name, self.data)
        del self.data[name]

    def __repr__(self) -> str:
        title = f"{type(self).__name__.lstrip('_')}(registered {self._what}: "
        return f"{title}{', '.join(self.data)})"

    __str__ = __repr__


class _DatasetCatalog(_Catalog[Callable[[], list[dict[str, Any]]]]):
    """Names of datasets and, for each, the function that loads its list of dicts."""

    _what = "datasets"

    def __init__(self) -> None:
        super().__init__()
        self._given_up: set[str] = set()

    def give_up(self, name: str) -> None:
        """Let the next one register a name that is taken: one that detectron2 leaves free."""
        self._given_up.add(name)

    def remove(self, name: str) -> None:
        super().remove(name)
        self._given_up.discard(name)

    def register(self, name: str, func: Callable[[], list[dict[str, Any]]]) -> None:
        """Add a dataset.

        Args:
            name: how configurations will call it.
            func: takes nothing and returns the dataset's list of dicts, the same at every call.

        Raises:
            TakenNameError: if the name is taken.
            InputTypeError: if `func` cannot be called.
        """
        if not callable(func):
            raise InputTypeError(
                f"Dataset {name!r} was registered with {type(func).__name__}; expected a function "
                "that takes nothing and returns a list of dicts."
            )
        if name in self._given_up:
            self._given_up.remove(name)
            MetadataCatalog.data.pop(name, None)
            logger.info("The dataset %r is the one registered now, not d2lite's own.", name)
        elif name in self.data:
            raise TakenNameError(
                f"The dataset name {name!r} is already registered. Choose another name, or call "
                f"DatasetCatalog.remove({name!r}) first."
            )
        self.data[name] = func

    def get(self, name: str) -> list[dict[str, Any]]:  # type: ignore[override]
        """Load a dataset by calling the function registered for it.

        Raises:
            ConfigError: if the name has the scheme of a dataset string but is malformed.
            UnknownNameError: if the name is not registered.
        """
        _register_if_new(name)
        if name not in self.data:
            raise _no_such_dataset(name, self.data)
        return self.data[name]()

    def __contains__(self, name: object) -> bool:
        """Whether the name is registered, or well formed as a string that names files."""
        scheme = _scheme_of(name)
        return name in self.data or (scheme is not None and scheme.is_well_formed(str(name)))


class Metadata(SimpleNamespace):
    """What is known about one dataset: class names, files, how to evaluate it.

    A value that was set stays: setting another one under the same key is an error, since models,
    evaluators and images made before and after would disagree in silence.
    """

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        """Reached only for keys that were not set."""
        if key.startswith("__"):  # copy and pickle probe for such names
            raise AttributeError(key)
        if key in _OLD_NAMES:
            return getattr(self, _OLD_NAMES[key])
        deferred = self.__dict__.get("_deferred", {})
        if key in deferred:
            return deferred[key]()
        known = ", ".join(sorted(self._keys() - {"name"})) or "nothing yet"
        raise AttributeError(
            f"Metadata of dataset {self.name!r} has no {key!r}; it has: {known}. "
            f"Set it with MetadataCatalog.get({self.name!r}).set({key}=...), or load the dataset "
            "first if its loader sets it."
        )

    def __setattr__(self, key: str, val: Any) -> None:
        key = _OLD_NAMES.get(key, key)
        if key.endswith(_LISTS):
            val = _as_list(val)
        if key in self.__dict__:
            kept = self.__dict__[key]
            if kept is not val and not _equal(kept, val):
                raise DataError(
                    f"Metadata {key!r} of dataset {self.name!r} is already {kept!r} and cannot "
                    f"become {val!r}. Give the other dataset another name, or call "
                    f"MetadataCatalog.remove({self.name!r}) first."
                )
            return
        super().__setattr__(key, val)

    def set(self, **kwargs: Any) -> "Metadata":
        """Set several values; returns itself, so that calls can be chained."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def set_deferred(self, **makers: Callable[[], Any]) -> "Metadata":
        """Give values by functions that are called at each reading.

        Built-in datasets use it for their paths, which depend on an environment variable that a
        program may still change after the import; datasets named by a string use it for what
        is in their files. Where those files are missing, the attribute raises
        `MissingFileError`, and `get` and `as_dict` do as if the key was not set.
        """
        self.__dict__.setdefault("_deferred", {}).update(makers)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default` if it is not set."""
        key = _OLD_NAMES.get(key, key)
        try:
            return getattr(self, key, default) if key in self._keys() else default
        except MissingFileError:
            return default

    def as_dict(self) -> dict[str, Any]:
        """All keys and values as a new dict."""
        unset = object()
        found = {key: self.get(key, unset) for key in sorted(self._keys())}
        return {key: value for key, value in found.items() if value is not unset}

    def replace(self, **kwargs: Any) -> "Metadata":
        """Set values also where others were set before; the caller answers for who read them."""
        self.__dict__.update(kwargs)
        return self

    def _keys(self) -> frozenset[str]:
        return frozenset({"name", *self.__dict__, *self.__dict__.get("_deferred", {})}) - {
            "_deferred"
        }


def _as_list(value: Any) -> Any:
    """A list of what is in an array, which has no truth value, or in a dict's view."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, KeysView | ValuesView) else value


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are the same; arrays and other odd types count as unequal if unsure."""
    try:
        return bool(a == b)
    except (ValueError, TypeError, RuntimeError):
        return False


class _MetadataCatalog(_Catalog["Metadata"]):
    """Names of datasets and, for each, one `Metadata`, made at the first question."""

    _what = "metadata"

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """The metadata of a dataset; a name never seen gets an empty one that is kept."""
        if not name:
            raise DataError(f"A dataset name must be a text of one letter or more, not {name!r}.")
        _register_if_new(name)
        if name not in self.data:
            self.data[name] = Metadata(name=name)
        return self.data[name]


DatasetCatalog = _DatasetCatalog()
"""Dataset names and their loading functions, for the whole process."""

MetadataCatalog = _MetadataCatalog()
"""Dataset names and their metadata, for the whole process."""


def _register_if_new(name: str) -> None:
    """Register a name of some scheme; one that was registered by hand keeps its function."""
    scheme = _scheme_of(name)
    if scheme is not None and name not in DatasetCatalog.data:
        scheme.register(name)
