"""tools/train_net.py under torchrun: nothing to tell it, it finds the other processes itself."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import ddp_job

ROOT = Path(__file__).resolve().parents[2]
# Far below the half hour that processes wait for one that is gone, far above a busy machine.
PATIENCE = 600


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with the images of the job, drawn once."""
    ddp_job.register_sets(tmp_path)
    ddp_job.forget_sets()
    return tmp_path


def start(images: Path, out: Path, *options: str, torchrun: tuple[str, ...]) -> subprocess.Popen:
    """Run the training tool in processes that torchrun starts."""
    program = [sys.executable, "-m", "torch.distributed.run", *torchrun]
    tool = [
        str(ROOT / "tools/train_net.py"),
        "--import",
        str(ROOT / "tests/engine/torchrun_user.py"),
    ]
    cfg_file = images / "config.yaml"
    cfg_file.write_text(ddp_job.make_cfg(out, ()).dump())
    return subprocess.Popen(
        [*program, *tool, "--config-file", str(cfg_file), "OUTPUT_DIR", str(out), *options],
        env={**os.environ, "D2LITE_TEST_FOLDER": str(images), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, text


def final_weights(out: Path) -> torch.Tensor:
    state = torch.load(out / "model_final.pth", weights_only=True)["model"]
    return torch.cat([value.flatten().float() for value in state.values()])


TWO_HERE = ("--standalone", "--nproc-per-node", "2")


def test_two_processes_train_as_one_run(images, tmp_path):
    out = tmp_path / "out"
    status, text = finish(start(images, out, torchrun=TWO_HERE))
    assert status == 0, text
    assert "Process 0 of 2" in text
    assert (out / "log.txt.rank1").exists()
    assert text.count("Training from iteration 0 to 8") == 1
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert sum("total_loss" in line for line in lines) == 1
    assert any("job_val/bbox/AP" in line for line in lines)
    (tmp_path / "alone").mkdir()
    ddp_job.train(images, tmp_path / "alone", ())
    ddp_job.forget_sets()
    torch.testing.assert_close(
        final_weights(out), final_weights(tmp_path / "alone"), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_an_exception_in_one_rank_ends_all_with_its_trace(images, tmp_path):
    options = ("MODEL.META_ARCHITECTURE", "FailingDetector")
    status, text = finish(start(images, tmp_path / "out", *options, torchrun=TWO_HERE))
    assert status == 1
    # The trace itself, and again in torchrun's own report of the first failure.
    assert text.count("ZeroDivisionError: in one rank alone") >= 2
    assert "in forward" in text


@pytest.mark.slow
def test_a_run_whose_process_was_killed_ends_as_the_unbroken_one(images, tmp_path):
    """All processes are started again, and they go on from the last checkpoint."""
    options = ("SOLVER.CHECKPOINT_PERIOD", "4", "SEED", "3")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    status, text = finish(start(images, whole, *options, torchrun=TWO_HERE))
    assert status == 0, text
    options += ("MODEL.META_ARCHITECTURE", "KilledOnceDetector")
    torchrun = (*TWO_HERE, "--max-restarts", "1")
    status, text = finish(start(images, broken, *options, torchrun=torchrun))
    assert status == 0, text
    assert (images / "killed").exists()
    assert "Training from iteration 4 to 8" in text
    assert torch.equal(final_weights(broken), final_weights(whole))


@pytest.mark.slow
def test_an_evaluation_whose_process_was_killed_gives_the_results_of_the_unbroken_one(
    images, tmp_path
):
    """All processes are started again, and every image counts once."""
    options, results = ("--eval-only", "SEED", "3"), {}
    for name, model in (("whole", "StackDetector"), ("broken", "KilledInEvaluationDetector")):
        torchrun = (*TWO_HERE, "--max-restarts", "1")
        words = (*options, "MODEL.META_ARCHITECTURE", model)
        status, text = finish(start(images, tmp_path / name, *words, torchrun=torchrun))
        assert status == 0, text
        found = list((tmp_path / name).rglob("coco_instances_results.json"))
        results[name] = [json.loads(file.read_text()) for file in found]
    assert (images / "killed").exists()
    assert results["whole"][0]
    assert results["broken"] == results["whole"]


@pytest.mark.slow
def test_a_mistake_in_the_command_is_told_without_a_trace(images, tmp_path):
    process = start(images, tmp_path / "out", "SOLVER.IMS_PER_BATCH", "3", torchrun=TWO_HERE)
    status, text = finish(process)
    assert status != 0
    assert "error: SOLVER.IMS_PER_BATCH=3 does not divide over 2 processes" in text


@pytest.mark.slow
def test_two_machines_train_as_one_run(images, tmp_path):
    """Two torchruns that meet at an address stand in for two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "out"
    machines = [
        start(
            images,
            out,
            torchrun=(
                *("--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"),
                *("--master-addr", "127.0.0.1", "--master-port", str(port)),
            ),
        )
        for rank in (0, 1)
    ]
    endings = [finish(machine) for machine in machines]
    assert [status for status, _ in endings] == [0, 0], "\n".join(text for _, text in endings)
    assert "Process 0 of 2" in endings[0][1]
    (tmp_path / "alone").mkdir()
    ddp_job.train(images, tmp_path / "alone", ())
    ddp_job.forget_sets()
    torch.testing.assert_close(
        final_weights(out), final_weights(tmp_path / "alone"), rtol=1e-4, atol=1e-5
    )
