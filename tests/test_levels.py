"""The levels of the code: who may import whom, read from the source.

Upward imports and circles begin with one convenient line and end where nothing can be moved; this
test holds the table of docs/tour.md by reading every import, wherever it is in a file.
"""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Package -> packages of ours that it may import. Everyone may import `utils` and `projects`
# (which imports nothing) and read the version from `d2lite` itself.
_BELOW_MIDDLE = {"visualization", "structures", "layers", "config"}
_ALL_BELOW_ENGINE = _BELOW_MIDDLE | {
    "solver",
    "checkpoint",
    "modeling",
    "data",
    "evaluation",
    "model_zoo",
    "reporting",
}
MAY_IMPORT = {
    "utils": set(),
    "projects": set(),
    # Programs: `python -m d2lite.run`, which must not load torch by itself, and `.migrate`.
    "run": set(),
    "migrate": {"run"},
    "layers": set(),
    "config": set(),
    "checkpoint": set(),
    "structures": {"layers"},
    "solver": {"config"},
    "visualization": {"structures"},
    # Runs models on datasets, for the proof of an exported file.
    "export": {*_ALL_BELOW_ENGINE, "engine"},
    "modeling": _BELOW_MIDDLE,
    "data": _BELOW_MIDDLE,
    "evaluation": {"data", "structures", "config", "visualization"},
    "model_zoo": {"modeling", "checkpoint", "config"},
    "reporting": {"evaluation", "data", "visualization", "structures", "config"},
    "engine": _ALL_BELOW_ENGINE,
    "predicting": {*_ALL_BELOW_ENGINE, "engine", "export"},
    "serving": {"predicting", "data"},
    # Facts about data and machine -> a configuration.
    "recipes": {"data", "structures", "config"},
    # Configurations of MMDetection -> keys of ours.
    "mmdet": set(),
    "commands": {
        "mmdet",
        "recipes",
        *_ALL_BELOW_ENGINE,
        "engine",
        "export",
        "reporting",
        "predicting",
        "serving",
        "run",
        "migrate",
    },
    # `d2lite.Model`.
    "model": {"config", "engine", "export", "predicting", "recipes"},
    # `python -m d2lite`.
    "__main__": {"commands"},
}
# Old public addresses that only pass names on; nothing of ours imports them.
FACES = {
    "d2lite.utils.draws": "utils",
    "d2lite.utils.visualizer": "visualization",
    "d2lite.utils.colormap": "visualization",
    "d2lite.utils.testing": "engine",
    "d2lite.utils.video_visualizer": "visualization",
    "d2lite.engine.train_loop": "engine",
    "d2lite.data.detection_utils": "data",
    "d2lite.data.transforms.augmentation_impl": "data",
}
# Third parties that may be missing or are slow to load, and so are imported where they are used.
OPTIONAL = {
    "albumentations",
    "cityscapesscripts",
    "cloudpickle",
    "cv2",
    "datasets",
    "detectron2",
    "fsspec",
    "fvcore.nn",
    "hotcoco",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pycocotools",
    "huggingface_hub",
    "mlflow",
    "mlflow.entities",
    "safetensors",
    "scipy",
    "supervision",
    "tifffile",
    "timm",
    "torch.profiler",
    "torch.utils.tensorboard",
    "tqdm",
    "trackers",
    "transformers",
    "wandb",
}


class Import(NamedTuple):
    """One import: who, what, where, and whether it stands inside of a function."""

    module: str
    target: str
    line: int
    in_function: bool


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sources() -> dict[str, Path]:
    return {_module_name(path): path for path in sorted((ROOT / "d2lite").rglob("*.py"))}


SOURCES = _sources()


def _targets(node: ast.stmt, module: str, is_package: bool) -> Iterator[str]:
    """Modules that an import statement loads, submodules that it names included."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = module.split(".")
        keep = len(base) + is_package - node.level
        stem = ".".join([*base[:keep], *filter(None, [node.module])]) if node.level else node.module
        for alias in node.names:
            inner = f"{stem}.{alias.name}"
            yield inner if inner in SOURCES else stem


def _walk(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, in_function
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(node, in_function or is_function)


def _imports() -> list[Import]:
    found = []
    for module, path in SOURCES.items():
        is_package = path.name == "__init__.py"
        for node, in_function in _walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in dict.fromkeys(_targets(node, module, is_package)):
                found.append(Import(module, target, node.lineno, in_function))
    return found


IMPORTS = _imports()


def _package(module: str) -> str:
    """Second part of a module of ours, "" for d2lite itself or another's module."""
    parts = module.split(".")
    return parts[1] if parts[0] == "d2lite" and len(parts) > 1 else ""


def _shown(imports: list[Import]) -> str:
    return "\n".join(f"{i.module}, line {i.line}: imports {i.target}" for i in imports)


def test_every_package_has_its_level():
    assert {_package(module) for module in SOURCES} - {""} <= set(MAY_IMPORT)


def test_imports_go_downwards_only():
    wrong = []
    for found in IMPORTS:
        home, goal = _package(found.module), _package(found.target)
        allowed = {home, "", "utils", "projects", FACES.get(found.module)}
        if home and goal not in allowed | MAY_IMPORT[home]:
            wrong.append(found)
        if goal == "projects" and found.target != "d2lite.projects" and home != "projects":
            wrong.append(found)
    assert not wrong, _shown(wrong)


def test_nobody_imports_an_old_address():
    def hands_on(module: str) -> bool:
        # A package offers its old modules as attributes: d2lite.data.detection_utils.
        return SOURCES[module].name == "__init__.py"

    wrong = [i for i in IMPORTS if i.target in FACES and not hands_on(i.module)]
    assert not wrong, _shown(wrong)


@pytest.mark.parametrize("face", sorted(set(FACES) & set(SOURCES)))
def test_old_address_defines_nothing(face):
    tree = ast.parse(SOURCES[face].read_text(encoding="utf-8"))
    kinds = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    assert all(isinstance(node, kinds) for node in tree.body)


def test_no_import_stands_in_a_function_except_of_optional_third_parties():
    def optional(target: str) -> bool:
        return any(target == name or target.startswith(f"{name}.") for name in OPTIONAL)

    def is_command(module: str) -> bool:
        # Its options are read before anything slow is loaded; nothing imports it in turn.
        return module.rpartition(".")[0] == "d2lite.commands"

    wrong = [
        i for i in IMPORTS if i.in_function and not optional(i.target) and not is_command(i.module)
    ]
    assert not wrong, _shown(wrong)


def test_there_is_no_circle_of_imports():
    edges: dict[str, list[str]] = {module: [] for module in SOURCES}
    for found in IMPORTS:
        if found.target in SOURCES and found.target != found.module:
            edges[found.module].append(found.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in edges[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def _entry(module: str, package: str) -> str:
    """The file or sub-package right below a package that a module is in; "" for others."""
    inside = module.startswith(f"{package}.")
    return module[len(package) + 1 :].partition(".")[0] if inside else ""


PACKAGES = sorted(module for module, path in SOURCES.items() if path.name == "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_there_is_no_circle_between_the_files_and_sub_packages_of_a_package(package):
    """Two folders that import each other are one folder with a wall in it."""
    edges: dict[str, dict[str, Import]] = {}
    for found in IMPORTS:
        home, goal = _entry(found.module, package), _entry(found.target, package)
        if home and goal and home != goal and found.module not in FACES:
            edges.setdefault(home, {}).setdefault(goal, found)
    done: set[str] = set()

    def visit(entry: str, path: tuple[str, ...]) -> None:
        if entry in path:
            circle = [*path[path.index(entry) :], entry]
            steps = [edges[a][b] for a, b in itertools.pairwise(circle)]
            pytest.fail(f"{' -> '.join(circle)}\n{_shown(steps)}")
        if entry not in done:
            for goal in edges.get(entry, ()):
                visit(goal, (*path, entry))
            done.add(entry)

    for entry in list(edges):
        visit(entry, ())


def test_faces_name_what_they_hand_on_and_define_nothing():
    """No star imports, no definitions: what a package offers can be read off its `__init__`."""
    wrong = []
    kinds = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    for module, path in SOURCES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        if any(alias.name == "*" for node in imports for alias in node.names):
            wrong.append(f"{module} imports *")
        # `d2lite` itself loads `Model` on demand, by a function.
        is_face = path.name == "__init__.py" and module not in ("d2lite", "d2lite.projects")
        if is_face and not all(isinstance(node, kinds) for node in tree.body):
            wrong.append(f"{module} defines something")
    assert not wrong
