"""A disk that fills up while the file of torch is written."""

import resource

import pytest
import torch

from d2lite.export import to_torch


def test_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path, monkeypatch):
    program = torch.export.export(torch.nn.Linear(64, 64), (torch.zeros(1, 64),))
    monkeypatch.setattr(to_torch, "record_program", lambda function, count: program)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            to_torch.export_torch(None, tmp_path / "model.pt2", {"input": {"count": 1}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
