"""The arithmetic that a YAML file may compute: literals, operators, comprehensions, functions.

A published RetinaNet file writes its anchor sizes as a list expression with a YAML tag that would
run any Python. Here Python computes an expression only after each part of its syntax was found on
a list, and every operator and function in it was replaced by one that limits size and effort.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MAX_TEXT = 10_000
MAX_ITEMS = 100_000
MAX_LENGTH = 10_000
MAX_NUMBER = 10**30
MAX_POWER = 64

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: tuple[Callable[..., Any], ...] = (abs, float, int, len, max, min, range, round, sum)
_SYNTAX_NAMES = (
    "Expression Constant Name Load Store List Tuple BinOp Add Sub Mult Div FloorDiv Mod Pow "
    "UnaryOp UAdd USub Not Compare Eq NotEq Lt LtE Gt GtE IfExp Call ListComp GeneratorExp "
    "comprehension"
)
_SYNTAX = tuple(getattr(ast, name) for name in _SYNTAX_NAMES.split())
_EACH = "each item"  # not a name that an expression can have


def safe_eval(expression: str) -> Any:
    """Value of an arithmetic expression, for instance `[[x, x * 2**0.5] for x in [32, 64]]`.

    Returns:
        Numbers, texts, booleans, None, and lists and tuples of them.

    Raises:
        ValueError: if it holds anything but literals, arithmetic, comparisons, comprehensions and
            calls of abs, float, int, len, max, min, range, round and sum, or if it computes for
            too long or grows too large.
    """
    if len(expression) > MAX_TEXT:
        raise ValueError(f"the expression has {len(expression)} characters, over {MAX_TEXT}")
    try:
        limits = _Limits()
        tree = limits.visit(ast.parse(expression.strip(), mode="eval"))
        code = compile(ast.fix_missing_locations(tree), "<config>", "eval")
        return limits.check(eval(code, {"__builtins__": {}, **limits.names}))
    except (SyntaxError, RecursionError, MemoryError) as err:
        raise ValueError(f"cannot be read as an expression: {err}") from err
    except (ArithmeticError, TypeError, NameError) as err:
        raise ValueError(f"cannot be computed: {err}") from err


class _Limits(ast.NodeTransformer):
    """Lists what syntax is allowed, and counts the items and numbers that one evaluation makes."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS
        self.names: dict[str, Any] = {_EACH: self._each}
        self.names |= {f.__name__: self._limited(f) for f in _FUNCTIONS}
        self.names |= {k.__name__: self._limited(f) for k, f in _OPERATORS.items()}

    def visit(self, node: ast.AST) -> Any:
        """Refuse what is not on the list; let operators and loops be counted."""
        is_plain = not isinstance(node, ast.Constant) or isinstance(
            node.value, int | float | str | None
        )
        if not isinstance(node, _SYNTAX) or not is_plain:
            raise ValueError(f"{ast.unparse(node)!r} is not literal, arithmetic or comprehension")
        if isinstance(node, ast.Name) and node.id in self.names:
            raise ValueError(f"{node.id!r} is the name of a function")
        if isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and node.func.id in {
                function.__name__ for function in _FUNCTIONS
            }
            if not known or node.keywords:
                raise ValueError(f"the call {ast.unparse(node)!r} is not allowed")
            node.args = [self.visit(argument) for argument in node.args]
            return node
        self.generic_visit(node)
        if isinstance(node, ast.BinOp):
            return _call(type(node.op).__name__, node.left, node.right)
        if isinstance(node, ast.comprehension):
            node.iter = _call(_EACH, node.iter)
        return node

    def check(self, value: Any) -> Any:
        """Count a value and all that is in it; refuse what is too large or not plain."""
        self._left -= 1
        if isinstance(value, str | list | tuple):
            self._left -= len(value)
        elif not isinstance(value, int | float | None) or abs(value or 0) > MAX_NUMBER:
            raise ValueError(f"a number beyond {MAX_NUMBER:.0e}, or not a plain value, came up")
        if self._left < 0:
            raise ValueError(f"computes more than {MAX_ITEMS} values")
        if isinstance(value, list | tuple):
            for item in value:
                self.check(item)
        return value

    def _each(self, values: Iterable[Any]) -> Iterator[Any]:
        return map(self.check, values)

    def _limited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            args = tuple(list(a) if isinstance(a, Iterator) else a for a in args)
            _refuse_growth(function, args)
            result = function(*args)
            return self.check(list(result) if isinstance(result, range) else result)

        return call


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _refuse_growth(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Refuse a result that would have to be made before it could be found too large."""
    if function in (operator.pow, round) and len(args) == 2:
        if not all(isinstance(arg, int | float) for arg in args) or abs(args[1]) > MAX_POWER:
            raise ValueError(f"powers and digits beyond {MAX_POWER} are refused")
    elif function is range and len(range(*args)) > MAX_LENGTH:
        raise ValueError(f"a range is longer than {MAX_LENGTH}")
    elif function in _OPERATORS.values() and function is not operator.add:
        for sequence, times in (args, args[::-1]):
            if isinstance(sequence, str):
                raise ValueError("computing with texts is refused")
            if isinstance(sequence, list | tuple) and times * len(sequence) > MAX_LENGTH:
                raise ValueError(f"a sequence is longer than {MAX_LENGTH}")
