"""Placeholders for what optional packages give."""

import pytest

from d2lite.utils.develop import create_dummy_class, create_dummy_func
from d2lite.utils.torch_version_utils import min_torch_version


def test_placeholder_class_raises_at_use_and_names_the_package():
    placeholder = create_dummy_class("Fast", "fastlib", "Install it.")
    with pytest.raises(ImportError, match=r"Fast needs fastlib, which .* Install it\."):
        placeholder(3)
    with pytest.raises(ImportError, match="fastlib"):
        _ = placeholder.something


def test_placeholder_function_raises_when_called():
    with pytest.raises(ImportError, match="run needs a, b, which"):
        create_dummy_func("run", ["a", "b"])(1, key=2)


@pytest.mark.parametrize(
    ("installed", "wanted", "is_met"),
    [
        ("2.14.0+cpu", "2.14", True),
        ("2.14.0", "2.15", False),
        ("2.9.1", "2.14", False),
        ("2.15.0.dev1", "2.15.0", True),
    ],
)
def test_versions_of_torch_are_compared_as_numbers(monkeypatch, installed, wanted, is_met):
    monkeypatch.setattr("torch.__version__", installed)
    assert min_torch_version(wanted) == is_met
