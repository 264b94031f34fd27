"""The benchmark compares like with like: both sides of each pair compute the same."""

import importlib.util
from pathlib import Path

import pytest
import torch

from d2lite.projects import solov2

from .small import small_model


@pytest.fixture(scope="module")
def benchmark():
    path = Path(solov2.__file__).parents[1] / "benchmark.py"
    spec = importlib.util.spec_from_file_location("solov2_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_training_steps_have_the_same_gradients(benchmark):
    model = small_model()
    size = (64, 96)
    sample = {
        "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
        "instances": benchmark.objects(6, size, model.num_classes),
    }
    found = []
    for with_loops in (False, True):
        benchmark.train_step(model, sample, with_loops=with_loops)
        found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert sum(bool(gradient.any()) for gradient in found[0].values()) > 50
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_targets_and_losses_of_all_three_forms_agree_and_are_printed(benchmark, capsys):
    """`compare_targets` raises where two losses differ."""
    model = small_model()
    settings = benchmark.Settings(
        model.ins_head.num_grids, model.scale_ranges, model.sigma, model.num_classes
    )
    benchmark.compare_targets((64, 96), settings, channels=4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["objects", "1", "10", "50", "100"]
    assert all(line.count("x") == 3 for line in lines[1:])


def test_both_orders_of_inference_run_with_every_cell_above_the_threshold(benchmark):
    model = small_model("MODEL.SOLOV2.SCORE_THR", 0.0, "MODEL.SOLOV2.UPDATE_THR", 0.0).eval()
    sample = {"image": torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)}
    for maps_first in (False, True):
        benchmark.flooded_step(model, sample, maps_first=maps_first)
    assert benchmark.peak_megabytes() > 0
