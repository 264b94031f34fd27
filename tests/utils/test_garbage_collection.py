"""Reading without the search for cycles, which afterwards is as it was."""

import gc

import pytest

from d2lite.utils.garbage_collection import paused_garbage_collection


def test_collection_pauses_inside_and_goes_on_after_an_exception():
    seen = []

    @paused_garbage_collection()
    def read():
        seen.append(gc.isenabled())
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        read()
    assert seen == [False]
    assert gc.isenabled()


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with paused_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
