import pytest
import torch

from d2lite.engine import launch

from . import ddp_job


def test_two_processes_with_accumulation_follow_the_run_of_one(tmp_path):
    """Gradients are averaged once a step, and metrics are means over processes."""
    results = {}
    for world_size in (1, 2):
        launch(ddp_job.train_and_save, world_size, args=(str(tmp_path),))
        results[world_size] = torch.load(tmp_path / f"{world_size}.pth", weights_only=True)
    torch.testing.assert_close(results[2]["weights"], results[1]["weights"], rtol=1e-5, atol=1e-6)
    assert len(results[2]["losses"]) == ddp_job.STEPS
    assert results[2]["losses"] == pytest.approx(results[1]["losses"])
