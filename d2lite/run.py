"""Run a script that imports detectron2, unchanged, on d2lite.

    python -m d2lite.run train.py --config-file x.yaml
    python -m d2lite.run -m my_package.train --num-gpus 2

Inside, `import detectron2.X` gives the module `d2lite.X`: one module object under both names, so
that registries, `isinstance` and pickled class paths agree. Nothing is installed, and a detectron2
that is installed is left alone.
"""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .utils.streams import guard_streams

PEER, OURS = "detectron2", "d2lite"
# The release of detectron2 whose names d2lite has.
_PEER_VERSION = "0.6"
# Names the script in processes that this one starts by multiprocessing's spawn.
_VARIABLE = "D2LITE_RUN"
# Modules whose public names detectron2's other modules import, and so offer too.
_HOMES = (
    "structures", "layers", "config", "data", "data.transforms", "data.datasets",
    "data.detection_utils", "modeling", "modeling.backbone", "modeling.roi_heads",
    "modeling.box_regression", "modeling.matcher", "modeling.poolers", "modeling.sampling",
    "modeling.proposal_generator.proposal_utils", "solver", "checkpoint", "evaluation", "engine",
    "engine.hooks", "utils.collect_env", "utils.comm", "utils.env", "utils.events",
    "utils.file_io", "utils.logger", "utils.memory", "utils.registry", "utils.serialize",
    "utils.visualizer",
)  # fmt: skip
_MODULES = {
    "T": "data.transforms",
    "comm": "utils.comm",
    "hooks": "engine.hooks",
    "utils": "data.detection_utils",
}
_USAGE = "usage: d2lite run SCRIPT.py [ARGS...] | -m MODULE [ARGS...]"


def find_home(name: str) -> str:
    """The dotted address of a name that detectron2's modules import from each other.

    Args:
        name: of a class or function, such as "Boxes", or "comm", "hooks", "T", "utils".

    Returns:
        For instance "d2lite.structures.Boxes"; "" where there is no such public name.
    """
    if name in _MODULES:
        return f"{OURS}.{_MODULES[name]}"
    for home in (f"{OURS}.{home}" for home in _HOMES):
        if name in importlib.import_module(home).__all__:
            return f"{home}.{name}"
    return ""


def _answer_from_home(module: ModuleType, name: str) -> Any:
    """What a module's `__getattr__` does: code imports names where detectron2 merely uses them."""
    home = "" if name.startswith("_") else find_home(name)
    if not home:
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return importlib.import_module(home)
    return getattr(importlib.import_module(home.rpartition(".")[0]), name)


class _PeerDistribution(Distribution):
    """What packages read to learn whether detectron2 is installed, and which version."""

    def read_text(self, filename: str) -> str | None:
        """The text of METADATA; None for any other file."""
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: {PEER}\nVersion: {_PEER_VERSION}\n"

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        """Where a file of d2lite is."""
        return Path(__file__).parent.parent / path


class _PeerFinder:
    """Answers imports of detectron2 and of its submodules with the modules of d2lite."""

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterator[Distribution]:
        """Answer importlib.metadata, which packages ask before they import."""
        if context is None or context.name in (None, PEER):
            yield _PeerDistribution()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Take every name of detectron2; leave all others to the usual finders."""
        if name.partition(".")[0] != PEER:
            return None
        real = OURS + name[len(PEER) :]
        try:
            found = importlib.util.find_spec(real)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ModuleNotFoundError(
                f"No module named {name!r}: d2lite has no {real!r}. "
                "`d2lite migrate PATH` lists what has no counterpart, and what to do.",
                name=name,
            )
        is_package = found.submodule_search_locations is not None
        loader: Any = self
        return ModuleSpec(name, loader, origin=found.origin, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module of d2lite; the import system stores it under the other name too."""
        module = importlib.import_module(OURS + spec.name[len(PEER) :])
        if not hasattr(module, "__getattr__"):
            module.__getattr__ = partial(_answer_from_home, module)  # type: ignore[method-assign]
        # The import system is about to replace this with the spec of the other name.
        spec.loader_state = module.__spec__
        return module

    def get_code(self, name: str) -> Any:
        """The code of a module that is run, as by `-m detectron2.utils.collect_env`."""
        real = OURS + name[len(PEER) :]
        loader: Any = importlib.util.find_spec(real).loader  # type: ignore[union-attr]
        return loader.get_code(real)

    def exec_module(self, module: ModuleType) -> None:
        """The module was executed under its own name; give it its own spec back."""
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state


def answer_detectron2_imports() -> None:
    """From now on, `import detectron2...` in this process gives d2lite's modules."""
    if any(isinstance(finder, _PeerFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _PeerFinder())
    manager = logging.Logger.manager
    get_logger = manager.getLogger

    def get_ours(name: str) -> logging.Logger:
        root, dot, rest = name.partition(".") if isinstance(name, str) else (name, "", "")
        return get_logger(OURS + dot + rest if root == PEER else name)

    # One logger under both names: a level, filter or handler that a script gives to detectron2's,
    # or to one of its modules', counts for the messages of d2lite.
    manager.getLogger = get_ours  # type: ignore[method-assign]


def _code_of_script(name: str) -> tuple[Any, dict[str, Any]]:
    path = Path(name)
    if path.is_dir():
        path = path / "__main__.py"
    if not path.is_file():
        raise SystemExit(_mistake(f"{name}: there is no such file (looked in {Path.cwd()})."))
    with open(path, "rb") as file:
        source = file.read()
    return compile(source, str(path), "exec", dont_inherit=True), {
        "__file__": str(path),
        "__package__": None,
    }


def _code_of_module(name: str) -> tuple[Any, dict[str, Any]]:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError:
        spec = None
    loader: Any = spec.loader if spec is not None else None
    if spec is None or not hasattr(loader, "get_code"):
        raise SystemExit(_mistake(f"-m {name}: no module of this name can be run."))
    return loader.get_code(spec.name), {"__file__": spec.origin, "__package__": spec.parent}


def _mistake(text: str) -> int:
    sys.stderr.write(f"error: {text}\n{_USAGE}\n")
    return 2


def _execute(kind: str, name: str, namespace: dict[str, Any]) -> None:
    code, names = _code_of_module(name) if kind == "-m" else _code_of_script(name)
    namespace.update(names)
    sys.argv[0] = names["__file__"]
    exec(code, namespace)


def main(args: Sequence[str]) -> None:
    """Run a script or module as Python would, with detectron2's names answered by d2lite.

    Args:
        args: SCRIPT and its arguments, or "-m", MODULE and its arguments.

    Raises:
        SystemExit: with status 2 if there is no such script or module; as the script has it.
    """
    kind = "-m" if args[:1] == ["-m"] else ""
    rest = list(args[1:] if kind else args)
    if not rest or rest[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n{_USAGE}\n")
        raise SystemExit(0 if rest else 2)
    installed = PathFinder.find_spec(PEER)
    if installed is not None and installed.origin:
        sys.stderr.write(f"note: the detectron2 in {installed.origin} is not used in this run\n")
    name = rest[0]
    answer_detectron2_imports()
    # Absolute: a process that is started later may have another working directory.
    os.environ[_VARIABLE] = f"{kind}:{name if kind else Path(name).resolve()}"
    sys.argv = rest
    sys.path[0] = os.getcwd() if kind else str(Path(name).resolve().parent)
    main_module = sys.modules["__main__"]
    # Classes and functions of the script must be found as __main__.NAME when they are pickled.
    _execute(kind, name, main_module.__dict__)


if __name__ == "__main__":
    guard_streams()
    main(sys.argv[1:])
elif __name__ == "__mp_main__" and _VARIABLE in os.environ:
    # A process that multiprocessing spawned: it imports what was run as __main__ in its parent.
    answer_detectron2_imports()
    _kind, _, _name = os.environ[_VARIABLE].partition(":")
    _execute(_kind, _name, globals())
