"""Every public address answers."""

import importlib

import pytest

from tests.public_names import PUBLIC_NAMES


@pytest.mark.parametrize("module", sorted(PUBLIC_NAMES))
def test_module_offers_its_public_names(module):
    found = importlib.import_module(f"d2lite.{module}")
    missing = [name for name in PUBLIC_NAMES[module].split() if not hasattr(found, name)]
    assert not missing, f"d2lite.{module} lacks {', '.join(missing)}"


@pytest.mark.parametrize("module", sorted(PUBLIC_NAMES))
def test_what_a_module_lists_as_public_exists(module):
    found = importlib.import_module(f"d2lite.{module}")
    listed = getattr(found, "__all__", [])
    assert len(set(listed)) == len(listed)
    assert all(hasattr(found, name) for name in listed)
