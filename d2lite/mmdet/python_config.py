"""Configuration files of MMDetection (versions 2 and 3), read without being executed."""

import ast
import copy
import logging
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from d2lite.utils.errors import ConfigError, MissingFileError

logger = logging.getLogger(__name__)

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dict": dict, "list": list, "tuple": tuple, "int": int, "float": float, "len": len,
    "range": range, "min": min, "max": max, "str": str,
}  # fmt: skip
# A list may be made longer, but not without an end.
_MOST_ITEMS = 100_000
# Base and exponent of a power.
_LARGEST = 64
_TEMPLATE = re.compile(r"\{\{\s*_base_\.([\w.]+)\s*\}\}")
# In a dict of a file: it takes the place of that of the base file, and is not merged into it.
_DELETE = "_delete_"


def read_mmdet_config(path: str | Path) -> dict[str, Any]:
    """The content of a configuration file with those that it is based on.

    Literals, names, `dict(...)`, sums, `_base_` lists, `read_base()` imports, `_delete_` and
    `NAME.update(...)` are understood. A class that a file imports becomes its name.

    Args:
        path: of the `.py`.

    Returns:
        The names of the file and their values.

    Raises:
        MissingFileError: if it or a file that it is based on is not there.
        ConfigError: if one of them is not Python. A statement that is not understood is left out
            and logged, with file and line.
    """
    return _read(Path(path), ())


def parse_mmdet_config(text: str, name: str = "the config") -> dict[str, Any]:
    """The content of a configuration that is not based on others, such as that of a checkpoint.

    Args:
        text: Python.
        name: what to call it in messages.

    Raises:
        ConfigError: as `read_mmdet_config`.
    """
    return _File(Path(name), text, ()).content()


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path} is based on itself, by way of {seen[-1]}.")
    if not path.is_file():
        user = f", which {seen[-1]} is based on" if seen else ""
        raise MissingFileError(f"There is no file {path}{user}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not a text in UTF-8.") from err
    return _File(path, text, (*seen, path)).content()


class _NotReadError(ConfigError):
    """A statement is not one that a configuration has."""


class _File:
    """One file: its statements in order, as far as a configuration has them."""

    def __init__(self, path: Path, text: str, seen: tuple[Path, ...]) -> None:
        self._path, self._seen = path, seen
        try:
            self._statements = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
            raise ConfigError(f"{path} is not Python that can be read: {err}.") from err
        self._base: dict[str, Any] = {}
        self._names: dict[str, Any] = {}

    def content(self) -> dict[str, Any]:
        """All names but private ones, with those of the base files."""
        for statement in self._statements:
            try:
                self._run(statement)
            except _NotReadError as err:
                logger.warning("%s This statement is left out.", err)
            except ConfigError:
                raise
            except (
                ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
            ) as err:  # fmt: skip
                fault = self._fault(statement, f"{type(err).__name__}: {err}")
                logger.warning("%s This statement is left out.", fault)
        own = {name: value for name, value in self._names.items() if not name.startswith("_")}
        content: dict[str, Any] = _fill(_merged(self._base, own), self._base)
        return content

    def _run(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id="_base_")]):
                names = self._value(node.value)
                for name in [names] if isinstance(names, str) else names:
                    self._include(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                self._names[name] = self._value(node.value)
            case ast.Assign(targets=[ast.Subscript(value=holder, slice=key)]):
                self._value(holder)[self._value(key)] = self._value(node.value)
            case ast.Assign(targets=[ast.Attribute(value=holder, attr=attribute)]):
                self._value(holder)[attribute] = self._value(node.value)
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name("read_base")))]):
                for inner in node.body:
                    if isinstance(inner, ast.ImportFrom):
                        self._include_module(inner)
            case ast.ImportFrom():
                for alias in node.names:
                    self._names.setdefault(alias.asname or alias.name, alias.name)
            case ast.Import() | ast.Pass() | ast.FunctionDef() | ast.ClassDef():
                pass
            case ast.Delete(targets=targets):
                for target in targets:
                    self._delete(target)
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=holder, attr="update"), args=[change])
            ):
                target = self._value(holder)
                target.update(_merged(target, self._value(change)))
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=holder, attr="pop"), args=[key, *_])
            ):
                self._value(holder).pop(self._value(key), None)
            case _:
                raise self._fault(node, "a config has assignments, imports and updates")

    def _delete(self, target: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                self._names.pop(name, None)
            case ast.Attribute(value=holder, attr=attribute):
                self._value(holder).pop(attribute, None)
            case ast.Subscript(value=holder, slice=key):
                del self._value(holder)[self._value(key)]

    def _include(self, name: str) -> None:
        # `mmdet::rtmdet/x.py` is in the installed package, whose files are not here.
        if "::" in name:
            raise ConfigError(
                f"{self._path} is based on {name}, a file of the package; copy it beside this file "
                "and name it by its path."
            )
        content = _read(self._path.parent / name, self._seen)
        self._base = _merged(self._base, content)

    def _include_module(self, node: ast.ImportFrom) -> None:
        folder = self._path.parent
        for _ in range(max(node.level - 1, 0)):
            folder = folder.parent
        parts = (node.module or "").split(".")
        if node.level == 0:
            raise ConfigError(
                f"{self._path}, line {node.lineno}: imports {node.module}, a module of a package; "
                "copy it beside this file and import it relatively."
            )
        content = _read(folder.joinpath(*parts).with_suffix(".py"), self._seen)
        names = [alias.name for alias in node.names]
        chosen = content if names == ["*"] else {k: content[k] for k in names if k in content}
        # In this style, files change the names of their bases themselves.
        self._names.update(copy.deepcopy(chosen))

    def _value(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.List(elts=items):
                return [self._value(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(self._value(item) for item in items)
            case ast.Dict(keys=keys, values=values):
                content: dict[Any, Any] = {}
                for key, value in zip(keys, values, strict=True):
                    # Without a key: {**other}.
                    inner = self._value(value)
                    content.update(inner if key is None else {self._value(key): inner})
                return content
            case ast.Set(elts=[ast.Set(elts=[inner])]):
                return self._value(inner)  # {{_base_.name}}
            case ast.ListComp(elt=item, generators=[ast.comprehension(target=ast.Name(id=name))]):
                return self._listed(node, item, name)
            case ast.Name(id="_base_"):
                return self._base
            case ast.Name(id=name):
                if name in self._names:
                    return self._names[name]
                if name in self._base:
                    return copy.deepcopy(self._base[name])
                raise self._fault(node, f"the name {name} has no value")
            case ast.Attribute(value=holder, attr=attribute):
                return self._value(holder)[attribute]
            case ast.Subscript(value=holder, slice=key):
                return self._value(holder)[self._value(key)]
            case ast.Slice(lower=lower, upper=upper, step=step):
                ends = (None if end is None else self._value(end) for end in (lower, upper, step))
                return slice(*ends)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._value(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._value(operand)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
                return self._combined(node, type(sign), self._value(left), self._value(right))
            case ast.JoinedStr(values=parts):
                return "".join(str(self._value(part)) for part in parts)
            case ast.FormattedValue(value=value):
                return self._value(value)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if (
                name in _FUNCTIONS
            ):
                found: dict[str, Any] = {}
                for word in keywords:
                    value = self._value(word.value)
                    found.update(value if word.arg is None else {word.arg: value})
                given = [self._value(arg) for arg in args]
                if name == "range" and len(range(*given)) > _MOST_ITEMS:
                    raise self._fault(node, "a range is too long")
                return _FUNCTIONS[name](*given, **found)
        raise self._fault(node, "this is not a value that can be read without executing it")

    def _listed(self, node: ast.ListComp, item: ast.expr, name: str) -> list[Any]:
        part = node.generators[0]
        if part.ifs:
            raise self._fault(node, "a list is not read with a condition")
        before, found = self._names, []
        for value in self._value(part.iter):
            self._names = {**before, name: value}
            found.append(self._value(item))
        self._names = before
        return found

    def _combined(self, node: ast.AST, sign: type, left: Any, right: Any) -> Any:
        if sign is ast.Mult:
            for items, times in ((left, right), (right, left)):
                is_repeated = isinstance(items, str | list | tuple) and isinstance(times, int)
                if is_repeated and len(items) * times > _MOST_ITEMS:
                    raise self._fault(node, "a list is repeated too often")
        if sign is ast.Pow and not (abs(left) <= _LARGEST and abs(right) <= _LARGEST):
            raise self._fault(node, "a power is too large")
        return _OPERATORS[sign](left, right)

    def _fault(self, node: ast.AST, what: str) -> "_NotReadError":
        line = getattr(node, "lineno", "?")
        text = ast.unparse(node).splitlines()[0][:80]
        return _NotReadError(f"{self._path}, line {line}: {text}: {what}.")


def _merged(base: Any, own: Any) -> Any:
    """A value of a file over that of its base: dicts join key by key, all else is replaced."""
    if not isinstance(base, Mapping) or not isinstance(own, Mapping) or own.get(_DELETE):
        return _without_marks(own)
    return {**base, **{key: _merged(base.get(key), value) for key, value in own.items()}}


def _without_marks(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_marks(inner) for key, inner in value.items() if key != _DELETE}
    return value


def _fill(value: Any, base: Mapping[str, Any]) -> Any:
    """Put the base's values in the place of `{{_base_.name}}`."""
    if isinstance(value, Mapping):
        return {key: _fill(inner, base) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(inner, base) for inner in value)
    match = _TEMPLATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    found: Any = base
    for part in match[1].split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise ConfigError(f"{value}: the base files have no {match[1]}.")
        found = found[part]
    return found
