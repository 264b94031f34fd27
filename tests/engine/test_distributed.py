"""Two processes train, save and evaluate as one does."""

import json
from pathlib import Path

import pytest
import torch

from d2lite.engine import launch

from . import ddp_job


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder of everything that `ddp_job.run_all` did, in one process and in two."""
    folder = tmp_path_factory.mktemp("distributed")
    ddp_job.register_sets(folder)  # draws the images, once
    ddp_job.run_all(folder)
    launch(ddp_job.run_all, 2, args=(folder,))
    yield folder
    ddp_job.forget_sets()


def load(path: Path):
    return torch.load(path, weights_only=True)


def test_accumulation_in_two_processes_follows_the_run_of_one(runs):
    """Gradients are averaged once a step, and metrics are means over processes."""
    one, two = (load(runs / f"points{size}.pth") for size in (1, 2))
    torch.testing.assert_close(two["weights"], one["weights"], rtol=1e-5, atol=1e-6)
    assert len(two["losses"]) == ddp_job.STEPS
    assert two["losses"] == pytest.approx(one["losses"])


@pytest.mark.parametrize("name", ddp_job.RUNS)
def test_a_run_of_two_processes_follows_that_of_one(runs, name):
    one, two = (runs / f"{name}{size}" for size in (1, 2))
    losses = load(one / "facts.pth")["losses"]
    assert load(two / "facts.pth")["losses"] == pytest.approx(losses, rel=1e-3)
    weights, others = (load(out / "model_final.pth")["model"] for out in (one, two))
    assert list(weights) == list(others)
    for key, value in weights.items():
        torch.testing.assert_close(others[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["sharded", "sharded_average"])
def test_each_process_keeps_a_part(runs, name):
    """And a checkpoint shows nothing of it: whole tensors, without names of a wrapper."""
    whole = load(runs / f"{name}1" / "sizes0.pth")
    parts = [load(runs / f"{name}2" / f"sizes{rank}.pth") for rank in (0, 1)]
    assert [sum(sizes) for sizes in zip(*parts, strict=True)] == whole
    assert max(map(sum, parts)) < 0.7 * sum(whole)
    content = load(runs / f"{name}2" / "model_final.pth")
    state = content["trainer"]["_trainer"]["optimizer"]["state"]
    tensors = [*content["model"].values()]
    tensors += [value for one in state.values() for value in one.values()]
    assert len(tensors) > 10
    assert all(type(value) in (torch.Tensor, int, float) for value in tensors)


@pytest.mark.parametrize("name", ["sharded", "sharded_average"])
def test_a_sharded_run_goes_on_bit_for_bit(runs, name):
    resumed, whole = (load(runs / f"{name}{end}" / "model_final.pth") for end in ("_resumed", "2"))
    for key, value in whole["model"].items():
        assert torch.equal(resumed["model"][key], value), key


def test_a_sharded_run_goes_on_in_one_process(runs, tmp_path):
    """Its checkpoints are those of anybody, optimizer and averaged weights included."""
    options = [*ddp_job.RUNS["sharded_average"], "SOLVER.FSDP.ENABLED", "False"]
    checkpoint = runs / "sharded_average2" / "model_0000003.pth"
    ddp_job.train(runs, tmp_path, options, resume=str(checkpoint))
    expected = load(runs / "sharded_average1" / "model_final.pth")["model"]
    found = load(tmp_path / "model_final.pth")["model"]
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("name", ddp_job.RUNS)
def test_every_image_is_evaluated_once_by_one_of_the_processes(runs, name):
    """3 images for two processes, and 1: nothing is padded, nothing is left out."""
    for part in ("job_val", "job_one"):
        found, expected = (
            load(runs / f"{name}{size}" / "facts.pth")["results"][part]["bbox"] for size in (2, 1)
        )
        assert found == pytest.approx(expected, abs=1.0, nan_ok=True)
    results = json.loads(
        (runs / f"{name}2" / "inference" / "coco_instances_results.json").read_text()
    )
    # The file is that of the last set, which has fewer images than there are processes.
    assert [result["image_id"] for result in results] == [11]


def test_one_process_writes(runs):
    out = runs / "plain2"
    assert len(list(out.glob("events.out.tfevents.*"))) == 1
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    iterations = [line["iteration"] for line in lines if "total_loss" in line]
    assert iterations == sorted(set(iterations))


def test_means_are_shared_inside_of_a_step_alone(runs):
    """1 and 3 things: the mean of 1 counts half as much as the mean of 2 would."""
    first, second = (load(runs / f"means{rank}.pth") for rank in (0, 1))
    assert (first["inside"], second["inside"]) == ((0.5, 2.0), (1.5, 2.0))
    assert first["nothing"] == 0.0
    assert first["outside"] == second["outside"] == 1.0


@pytest.mark.parametrize("rank", [0, 1])
def test_gradients_in_parts_are_clipped_as_whole_ones(runs, rank):
    clipped = load(runs / f"clipped{rank}.pth")
    assert len(clipped) == 9
    for name, (whole, parts) in clipped.items():
        assert whole[0].abs().max() <= 0.5 + 1e-6, name
        torch.testing.assert_close(parts, whole, msg=name)


@pytest.mark.slow
def test_mask_rcnn_in_two_processes_follows_that_of_one_for_fifty_steps(tmp_path):
    """Padding, sampling and the counts that losses are divided by must not hang on the split."""
    ddp_job.train_mask_rcnn(tmp_path)
    launch(ddp_job.train_mask_rcnn, 2, args=(tmp_path,))
    one, two = (load(tmp_path / f"mask_rcnn{size}" / "model_final.pth")["model"] for size in (1, 2))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=key)
