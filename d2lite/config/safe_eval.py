"""The arithmetic that a YAML file may compute: literals, operators, comprehensions, nothing else.

A published RetinaNet file writes its anchor sizes as a list expression behind a YAML tag that
would run any Python. Here the expression is walked node by node; names are the variables of its
own comprehensions, the one function is `range`, and size and effort are bounded.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

MAX_STEPS = 100_000
MAX_LENGTH = 10_000
MAX_TEXT = 10_000
MAX_NUMBER = 10**30
MAX_POWER = 64

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def safe_eval(expression: str) -> Any:
    """Value of an arithmetic expression, for instance `[[x, x * 2**0.5] for x in [32, 64]]`.

    Args:
        expression: Python syntax.

    Returns:
        Numbers, texts, booleans, None, and lists and tuples of them.

    Raises:
        ValueError: if it holds anything but literals, arithmetic, comparisons, comprehensions and
            `range`, or if it computes for too long or grows too large.
    """
    if len(expression) > MAX_TEXT:
        raise ValueError(f"the expression has {len(expression)} characters, over {MAX_TEXT}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _Walk().value(tree.body, {})
    except (SyntaxError, RecursionError, MemoryError) as err:
        raise ValueError(f"cannot be read as an expression: {err}") from err
    except (ArithmeticError, TypeError) as err:
        raise ValueError(f"cannot be computed: {err}") from err


class _Walk:
    """One evaluation; counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        """Value of one node, given the comprehension variables in `names`."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ValueError(f"computes for more than {MAX_STEPS} steps")
        handler = getattr(self, f"_{type(node).__name__}", None)
        if handler is None:
            raise ValueError(f"{ast.unparse(node)!r} is not literal, arithmetic or comprehension")
        return _bounded(handler(node, names))

    def _Constant(self, node: ast.Constant, names: dict[str, Any]) -> Any:
        if not isinstance(node.value, int | float | str | None):
            raise ValueError(f"{ast.unparse(node)!r} is neither number nor text")
        return node.value

    def _Name(self, node: ast.Name, names: dict[str, Any]) -> Any:
        if node.id not in names:
            raise ValueError(f"the name {node.id!r} is not known")
        return names[node.id]

    def _List(self, node: ast.List, names: dict[str, Any]) -> list[Any]:
        return [self.value(item, names) for item in node.elts]

    def _Tuple(self, node: ast.Tuple, names: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self.value(item, names) for item in node.elts)

    def _UnaryOp(self, node: ast.UnaryOp, names: dict[str, Any]) -> Any:
        if type(node.op) not in _UNARY:
            raise ValueError(f"{ast.unparse(node)!r} is not arithmetic")
        return _UNARY[type(node.op)](self.value(node.operand, names))

    def _BinOp(self, node: ast.BinOp, names: dict[str, Any]) -> Any:
        if type(node.op) not in _BINARY:
            raise ValueError(f"{ast.unparse(node)!r} is not arithmetic")
        left, right = self.value(node.left, names), self.value(node.right, names)
        _check_operands(node, left, right)
        return _BINARY[type(node.op)](left, right)

    def _Compare(self, node: ast.Compare, names: dict[str, Any]) -> bool:
        values = [self.value(item, names) for item in (node.left, *node.comparators)]
        for kind, left, right in zip(node.ops, values, values[1:], strict=False):
            if type(kind) not in _COMPARE:
                raise ValueError(f"{ast.unparse(node)!r} is not a comparison of numbers")
            if not _COMPARE[type(kind)](left, right):
                return False
        return True

    def _IfExp(self, node: ast.IfExp, names: dict[str, Any]) -> Any:
        return self.value(node.body if self.value(node.test, names) else node.orelse, names)

    def _Call(self, node: ast.Call, names: dict[str, Any]) -> list[int]:
        is_range = isinstance(node.func, ast.Name) and node.func.id == "range"
        if not is_range or node.keywords:
            raise ValueError(f"the call {ast.unparse(node)!r} is not allowed; only range(...) is")
        numbers = range(*[self.value(item, names) for item in node.args])
        if len(numbers) > MAX_LENGTH:
            raise ValueError(f"{ast.unparse(node)!r} is longer than {MAX_LENGTH}")
        return list(numbers)

    def _ListComp(self, node: ast.ListComp, names: dict[str, Any]) -> list[Any]:
        found = []
        for inner in self._scopes(node.generators, names):
            found.append(self.value(node.elt, inner))
            if len(found) > MAX_LENGTH:
                raise ValueError(f"{ast.unparse(node)!r} is longer than {MAX_LENGTH}")
        return found

    def _scopes(
        self, loops: Sequence[ast.comprehension], names: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """The variables of each turn of the nested loops."""
        if not loops:
            yield names
            return
        loop = loops[0]
        for item in self.value(loop.iter, names):
            inner = {**names, **_bind(loop.target, item)}
            if all(self.value(condition, inner) for condition in loop.ifs):
                yield from self._scopes(loops[1:], inner)


def _bind(target: ast.expr, item: Any) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: item}
    if isinstance(target, ast.Tuple | ast.List) and isinstance(item, list | tuple):
        if len(target.elts) != len(item):
            raise ValueError(f"{ast.unparse(target)!r} does not fit {item!r}")
        bound: dict[str, Any] = {}
        for part, value in zip(target.elts, item, strict=True):
            bound |= _bind(part, value)
        return bound
    raise ValueError(f"{ast.unparse(target)!r} is no loop variable for {item!r}")


def _check_operands(node: ast.BinOp, left: Any, right: Any) -> None:
    """Refuse what would grow beyond bounds before it is computed."""
    pair = (left, right)
    if isinstance(node.op, ast.Pow):
        if not all(isinstance(side, int | float) for side in pair) or abs(right) > MAX_POWER:
            raise ValueError(f"{ast.unparse(node)!r}: powers beyond {MAX_POWER} are refused")
    elif isinstance(node.op, ast.Mult) and any(isinstance(side, list | tuple) for side in pair):
        sequence, times = pair if isinstance(left, list | tuple) else (right, left)
        if not isinstance(times, int) or len(sequence) * times > MAX_LENGTH:
            raise ValueError(f"{ast.unparse(node)!r} is longer than {MAX_LENGTH}")
    elif not isinstance(node.op, ast.Add) and any(isinstance(side, str) for side in pair):
        # Text times a number grows, text % anything formats: neither is arithmetic.
        raise ValueError(f"{ast.unparse(node)!r} computes with text")


def _bounded(value: Any) -> Any:
    if isinstance(value, complex):
        raise ValueError("complex numbers are refused")
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise ValueError(f"a number beyond {MAX_NUMBER:.0e} came up")
    if isinstance(value, list | tuple | str) and len(value) > MAX_LENGTH:
        raise ValueError(f"a sequence longer than {MAX_LENGTH} came up")
    return value
