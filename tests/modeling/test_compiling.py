"""MODEL.COMPILE: parts of a model by torch.compile, under the same names."""

import copy
import shutil

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.engine.sharding import shard_model_
from d2lite.modeling import build_model
from d2lite.modeling.compiling import compile_parts_
from d2lite.utils.errors import ConfigError
from tests.tools.conftest import TINY

# What torch warns of while it reads code; each test that compiles needs some seconds.
quiet = pytest.mark.filterwarnings("ignore")


class Stem(nn.Sequential):
    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x


class Small(nn.Module):
    """A model of others: only its backbone is known to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Stem(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x):
        """The map where it is positive: a shape that depends on values."""
        x = self.backbone(x)
        return x[x > 0.5]


@quiet
def test_one_graph_serves_images_of_all_sizes_and_names_stay():
    model = Small()
    plain = copy.deepcopy(model)
    assert compile_parts_(model, backend="eager") == ["backbone"]
    torch._dynamo.utils.counters.clear()
    for height, width in [(8, 10), (9, 12), (20, 6)]:
        x = torch.rand(2, 3, height, width)
        torch.testing.assert_close(model(x), plain(x))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert list(model.state_dict()) == list(plain.state_dict())
    assert copy.deepcopy(model).backbone._compiled_call_impl is None


def test_a_model_without_parts_that_compile_is_refused():
    with pytest.raises(ConfigError, match="Linear has no part that is known to compile"):
        compile_parts_(nn.Linear(2, 2))


@quiet
def test_a_missing_compiler_is_reported_before_the_first_step(monkeypatch):
    def no_compiler(graph, inputs):
        raise OSError("No working C++ compiler found in config.cpp.cxx\nmore")

    torch.compiler.reset()
    with pytest.raises(ConfigError, match=r"does not work on 'cpu'.*No working C\+\+ compiler"):
        compile_parts_(Small(), backend=no_compiler)


def test_a_compiled_model_is_not_sharded():
    model = Small()
    model.backbone.compile()
    with pytest.raises(ConfigError, match=r"FSDP\.ENABLED and MODEL\.COMPILE were not tried"):
        shard_model_(model)


def test_a_missing_part_is_left_out():
    """With proposals from a file there is no RPN head."""
    cfg = setup_cfg("quick_start.yaml", TINY)
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert compile_parts_(build_model(cfg), backend="eager") == ["backbone"]


def test_it_is_off_by_default():
    assert get_cfg().MODEL.COMPILE is False


@quiet
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_run_with_generated_code_is_the_run_without_up_to_rounding(tmp_path):
    """It saves, averages, evaluates and goes on as before; compiling takes minutes on a CPU."""
    found = []
    for is_compiled in (False, True):
        cfg = setup_cfg(
            "quick_start.yaml",
            [*TINY, "MODEL_EMA.ENABLED", "True", "SOLVER.CHECKPOINT_PERIOD", "2", "SEED", "1"],
        )
        cfg.MODEL.COMPILE = is_compiled
        cfg.OUTPUT_DIR = str(tmp_path / str(is_compiled))
        for last in (2, 3):
            cfg.SOLVER.MAX_ITER = last
            trainer = DefaultTrainer(cfg.clone())
            trainer.resume_or_load(resume=last == 3)
            trainer.train()
        found.append(torch.load(tmp_path / str(is_compiled) / "model_final.pth")["model"])
    assert list(found[0]) == list(found[1])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-2, atol=1e-3)
