"""Move code written for detectron2 to d2lite: rename it, and list what has no counterpart.

    python -m d2lite.migrate my_project            # show a diff of what would change
    python -m d2lite.migrate my_project --write    # change the files

Python files, notebooks, YAML files and lists of requirements are read. Nothing of the project is
executed. `python -m d2lite.run` runs a project without changing it.
"""

import argparse
import ast
import difflib
import importlib
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .run import OURS, PEER, find_home
from .utils.file_io import write_file
from .utils.streams import guard_streams, report_failed_output

_SUFFIXES = {".py", ".ipynb", ".yaml", ".yml"}
_REQUIREMENTS = re.compile(r"(requirements.*\.txt|setup\.cfg|pyproject\.toml|environment.*\.ya?ml)")
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "build", "dist", "site-packages"}
# A dotted name, or the bare name as a whole string; not an address such as detectron2://.
_IN_STRING = re.compile(rf"(?<![\w./-]){PEER}(?=\.[A-Za-z_])|(?<=^['\"]){PEER}(?=['\"]$)")
_BINDING = re.compile(rf"^\s*import\b.*\b{PEER}\b", re.M)
_IN_YAML = re.compile(rf"(?<![\w./-]){PEER}(?=\.[A-Za-z_]\w*\.)")
_REQUIREMENT = re.compile(
    rf"(?<![\w./-])(?:{PEER}\s*@\s*)?git\+[^\s'\"]*{PEER}[^\s'\",]*"
    rf"|(?<![\w./-]){PEER}(?:\s*[<>=~!]=?\s*[\w.*]+)*(?=\s*(?:[;,\]'\"]|$))",
    re.M,
)
# What is left out on purpose: beginning of the dotted name -> what to do instead.
_ADVICE = {
    "_C": "compiled operators; d2lite.layers has the same ones in pure torch (nms_rotated, ...)",
    "export.caffe2": "Caffe2 is gone; export to ONNX or torch.export",
    "export.Caffe2": "Caffe2 is gone; export to ONNX or torch.export",
    "modeling.mmdet_wrapper": "MMDetection's wrapper is left out; convert its config and weights",
    "modeling.MMDet": "MMDetection's wrapper is left out; convert its config and weights",
    "tracking": "tracking is left out; use a tracker library on the predicted boxes",
    "config.compat": "configs of version 1 are converted when they are loaded; delete the call",
}
_UNKNOWN = "not in d2lite; write it in your project"


class Missing(NamedTuple):
    """A name that d2lite does not have."""

    line: int
    name: str
    advice: str


def migrate_source(text: str) -> str:
    """Rename detectron2 in Python source: in code, and in strings that hold its dotted names.

    Args:
        text: source that Python can tokenize.

    Returns:
        The changed source; comments and addresses (detectron2://) stay as they are.

    Raises:
        tokenize.TokenError, SyntaxError: if it is not Python.
    """
    lines = text.splitlines(keepends=True)
    edits = []
    # Only where it is bound by an import is the bare name the library's.
    is_bound = bool(_BINDING.search(text))
    before, first = "", ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        new = token.string
        first = first or new.strip()
        if token.type == tokenize.NAME and new == PEER and before != ".":
            new = OURS if is_bound or first in ("import", "from") else new
        elif token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            new = _IN_STRING.sub(OURS, new)
            new = _REQUIREMENT.sub(OURS, new) if "git+" in new else new
        if new != token.string:
            edits.append((token.start, token.end, new))
        before = token.string
        if token.type == tokenize.NEWLINE or token.string in (":", ";"):
            first = ""
    for (row, column), (end_row, end_column), new in reversed(edits):
        tail = lines[end_row - 1][end_column:]
        lines[row - 1 : end_row] = [lines[row - 1][:column] + new + tail]
    return "".join(lines)


def _migrate_notebook(text: str) -> str:
    content = json.loads(text)
    for cell in content.get("cells", ()):
        source = cell.get("source", "")
        joined = source if isinstance(source, str) else "".join(source)
        if cell.get("cell_type") != "code" or PEER not in joined:
            continue
        lines = joined.splitlines(keepends=True)
        # Lines of IPython (%magic, !shell) are not Python: they are replaced one by one.
        shell = {i: line for i, line in enumerate(lines) if line.lstrip()[:1] in ("%", "!")}
        plain = "".join("#\n" if i in shell else line for i, line in enumerate(lines))
        try:
            changed = migrate_source(plain).splitlines(keepends=True)
        except (SyntaxError, tokenize.TokenError):
            continue
        for i, line in shell.items():
            changed[i] = _REQUIREMENT.sub(OURS, line)
        cell["source"] = "".join(changed) if isinstance(source, str) else changed
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _used_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name, without its first part, of all that a file uses of detectron2."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == PEER:
                    yield node.lineno, alias.name[len(PEER) + 1 :]
                    modules[alias.asname or PEER] = alias.name if alias.asname else PEER
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if (node.module or "").partition(".")[0] != PEER:
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}" if alias.name != "*" else str(node.module)
                yield node.lineno, full[len(PEER) + 1 :]
                modules[alias.asname or alias.name] = full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            value = node.value
            while isinstance(value, ast.Attribute):
                parts.append(value.attr)
                value = value.value
            if isinstance(value, ast.Name) and value.id in modules:
                yield node.lineno, ".".join([modules[value.id], *reversed(parts)])[len(PEER) + 1 :]


def _find(name: str) -> str:
    """The first part of a dotted name that d2lite does not have; "" if it has all of it."""
    here: Any = importlib.import_module(OURS)
    done: list[str] = []
    for part in filter(None, name.split(".")):
        if isinstance(here, type) or (
            not hasattr(here, "__path__") and done and not _is_module(here)
        ):
            # Attributes of classes and objects may come from their instances.
            return ""
        done.append(part)
        if not hasattr(here, part):
            try:
                importlib.import_module(".".join([OURS, *done]))
            except ImportError:
                return ".".join(done)
        here = getattr(here, part, None)
        if here is None:
            return ""
    return ""


def _is_module(value: object) -> bool:
    return isinstance(value, type(sys))


def find_missing(text: str) -> list[Missing]:
    """List the names of detectron2 that a file uses and d2lite does not have.

    Args:
        text: Python source as written for detectron2.
    """
    found: dict[str, Missing] = {}
    for line, name in _used_names(ast.parse(text)):
        absent = _find(name)
        if absent and absent not in found:
            advice = next((text for start, text in _ADVICE.items() if absent.startswith(start)), "")
            if not advice:
                home = find_home(absent.rpartition(".")[2])
                advice = f"it is {home}" if home else _UNKNOWN
            found[absent] = Missing(line, absent, advice)
    return sorted(found.values())


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        if any(part in _SKIPPED_FOLDERS or part.startswith(".") for part in parts[:-1]):
            continue
        is_text = file.suffix in _SUFFIXES or _REQUIREMENTS.fullmatch(file.name)
        if file.is_file() and is_text:
            yield file


def _changed(file: Path, text: str) -> str:
    if _REQUIREMENTS.fullmatch(file.name):
        return _REQUIREMENT.sub(OURS, text)
    if file.suffix == ".ipynb":
        return _migrate_notebook(text)
    return migrate_source(text) if file.suffix == ".py" else _IN_YAML.sub(OURS, text)


def main(args: Sequence[str] | None = None) -> int:
    """Show or make the changes; see `python -m d2lite.migrate --help`.

    Returns:
        0; 2 if a path does not exist.
    """
    parser = argparse.ArgumentParser(
        prog="d2lite migrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    parser.add_argument("--write", action="store_true", help="change the files")
    options = parser.parse_args(args)
    for path in options.paths:
        if not path.exists():
            parser.error(f"{path}: there is no such file or folder")
    out = sys.stdout
    missing: list[str] = []
    num_changed = 0
    for file in (file for path in options.paths for file in _files(path)):
        try:
            data = file.read_bytes()
            if PEER.encode() not in data:
                continue
            is_python = file.suffix == ".py"
            encoding = (
                tokenize.detect_encoding(io.BytesIO(data).readline)[0] if is_python else "utf-8"
            )
            text = data.decode(encoding)
            new = _changed(file, text)
            for found in find_missing(text) if is_python else ():
                missing.append(f"{file}:{found.line}: {PEER}.{found.name}: {found.advice}")
        except (SyntaxError, ValueError, tokenize.TokenError) as error:
            missing.append(f"{file}: left as it is, for it cannot be read: {error}")
            continue
        if new == text:
            continue
        num_changed += 1
        sides = text.splitlines(keepends=True), new.splitlines(keepends=True)
        out.writelines(difflib.unified_diff(*sides, str(file), str(file), n=1))
        if options.write:
            rights = file.stat().st_mode
            write_file(file, new.encode(encoding))
            file.chmod(rights)
    if missing:
        out.write("\nNo counterpart in d2lite:\n" + "".join(f"  {line}\n" for line in missing))
    done = "changed" if options.write else "would change; --write changes them"
    out.write(f"\n{num_changed} files {done}. {len(missing)} places need your work.\n")
    return 0


if __name__ == "__main__":
    guard_streams()
    raise SystemExit(report_failed_output(main()))
