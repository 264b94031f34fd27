"""Looking into a checkpoint before there is a model."""

import pytest
import torch

from d2lite.engine.resuming.checkpoint_peek import class_names_of_weights
from d2lite.utils import download
from d2lite.utils.errors import MissingFileError


def test_names_are_read_from_a_file_of_ours_alone(tmp_path):
    """A file of others says nothing, and a missing one is left to who loads it."""
    ours, theirs = tmp_path / "ours.pth", tmp_path / "theirs.pth"
    torch.save({"model": {}, "d2lite": {"class_names": ["cat", "dog"]}}, ours)
    torch.save({"weight": torch.zeros(1)}, theirs)
    assert class_names_of_weights(str(ours)) == ["cat", "dog"]
    assert class_names_of_weights(str(theirs)) is None
    assert class_names_of_weights(str(tmp_path / "none.pth")) is None
    assert class_names_of_weights("") is None


def test_an_address_out_of_reach_ends_the_run_at_the_first_look(monkeypatch, tmp_path):
    """It used to be tried twice, with all waiting in between, before anything was said."""
    waited = []
    monkeypatch.setattr(download.time, "sleep", waited.append)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path))
    address = "http://127.0.0.1:9/model.pth"
    with pytest.raises(MissingFileError, match=rf"MODEL\.WEIGHTS {address}: .* cannot be fetched"):
        class_names_of_weights(address)
    assert waited == [1, 2, 4]
