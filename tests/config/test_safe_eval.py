"""The arithmetic of YAML files: what is computed, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2lite.config.safe_eval import safe_eval

numbers = st.integers(-1000, 1000) | st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
operators = st.sampled_from(["+", "-", "*", "/", "//", "%"])
expressions = st.recursive(
    numbers.map(lambda x: f"({x})"),
    lambda inner: st.builds(lambda a, op, b: f"({a} {op} {b})", inner, operators, inner),
    max_leaves=8,
)


@given(expressions)
def test_arithmetic_equals_python(text):
    try:
        expected = eval(text)
    except ArithmeticError:
        with pytest.raises(ValueError, match="cannot be computed"):
            safe_eval(text)
        return
    if abs(expected) <= 1e30:
        assert safe_eval(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]",
        "[x * y for x in range(3) for y in range(x) if x % 2]",
        "[a + b for a, b in [(1, 2), [3, 4]]]",
        "[1, 2] * 3 + [-4, +5]",
        "[None, True, not False, 'text', 1.5]",
        "[x if 1 < x <= 3 else -x for x in range(5)]",
        "(1, (2, 3))",
        "[[x + y for y in range(2)] for x in range(2)]",
        "[int(x * 0.1 * 512) for x in range(5, 8)]",
        "[round(2.567, 1), round(2.5), abs(-3), float('2'), len([1, 2]), sum([1, 2])]",
        "[min(1, 2), max([1, 2, 3]), min(x for x in range(1, 4)), sum(x * x for x in [1, 2])]",
    ],
)
def test_literals_and_comprehensions_equal_python(text):
    assert safe_eval(text) == eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "open('x')",
        "().__class__",
        "[].append(1)",
        "lambda: 1",
        "x",
        "range",
        "range(stop=3)",
        "max([1], key=len)",
        "max(*[[1, 2]])",
        "(x for x in [1])",
        "[int for int in [1]]",
        "[Add for Add in [1]]",
        "int",
        "abs",
        "eval('1')",
        "int.real",
        "max(len, abs)",
        "sorted([1])",
        "{1: 2}",
        "{x for x in [1]}",
        "f'{1}'",
        "'a' * 10",
        "'%s' % 3",
        "[1][0]",
        "(y := 3)",
        "1 if False else open",
        "1 and open",
        "~3",
        "1 << 9",
        "b'bytes'",
        "1j",
        "...",
        "1 is 1",
        "1; 2",
        "",
        "[x for x in 3]",
        "[a for a, b in [(1, 2, 3)]]",
        "[__import__ for __import__.x in [1]]",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        safe_eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "10.0**300",
        "(-8) ** 0.5",
        "round(5, -10**9)",
        "int('9' * 10**9)",
        "sum([[0] * 9999] * 9999, [])",
        "[[x, x] for x in " * 40 + "[1]" + "]" * 40,
        "sum(1 for a in range(9999) for b in range(9999))",
        "[0] * 10**9",
        "range(10**9)",
        "[1 for a in range(9999) for b in range(9999)]",
        "[[0 for a in range(999)] for b in range(999)]",
        "+".join(["1"] * 9000),
        "(" * 3000 + ")" * 3000,
        "1" * 5000,
    ],
)
def test_effort_and_size_are_bounded(text):
    """A config file of a few bytes must not fill the memory or the day."""
    with pytest.raises(ValueError, match=r".+"):
        safe_eval(text)
