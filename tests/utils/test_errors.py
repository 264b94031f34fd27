"""Error types: one family for the tools, builtins for code that catches those."""

import pytest

from d2lite.utils import errors


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"UserError"}))
def test_every_type_is_a_user_error_and_a_builtin_error(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.UserError)
    builtin = (ValueError, KeyError, OSError, RuntimeError, ImportError)
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("name", errors.__all__)
def test_text_reads_as_it_was_written_with_its_line_breaks(name):
    """KeyError would show quotes and backslashes, OSError with two arguments a number."""
    assert str(getattr(errors, name)("first\nsecond 'x'")) == "first\nsecond 'x'"


def test_unknown_name_without_a_text_shows_nothing():
    assert str(errors.UnknownNameError()) == ""
