"""Counts against torch's own counter and against what a formula says."""

import logging
import warnings

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from d2lite.modeling import build_model
from d2lite.utils.analysis import (
    FlopCountAnalysis,
    activation_count_operators,
    find_unused_parameters,
    flop_count_operators,
    parameter_count,
    parameter_count_table,
)

from ..modeling.meta_arch import tiny


class Net(nn.Module):
    """A convolution of 3 * 4 * 9 products at each of 8 x 6 places, then 4 * 5 for each place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Linear(4, 5)
        self.unused = nn.Linear(2, 2)

    def forward(self, batch):
        maps = self.conv(torch.stack([item["image"] for item in batch]))
        found = self.last(maps.flatten(2).mT)
        return {"loss": found.sum()} if self.training else [{"instances": found}]


BATCH = [{"image": torch.zeros(3, 8, 6)}]


def test_counts_are_those_of_the_formula():
    net = Net()
    flops = FlopCountAnalysis(net, BATCH)
    assert flops.by_operator() == {"conv": 48 * 108, "linear": 48 * 20}
    assert flops.total() == 48 * 128
    assert flops.total("conv") == 48 * 108
    by_module = flops.by_module()
    assert by_module["conv"] == 48 * 108
    assert by_module[""] == 48 * 128
    assert flop_count_operators(net, BATCH)["conv"] == 48 * 108 / 1e9
    activations = activation_count_operators(net, BATCH)
    assert activations == {"conv": 48 * 4 / 1e6, "linear": 48 * 5 / 1e6}
    assert activations["no such operation"] == 0


def test_the_tables_of_fvcore_take_the_analysis():
    """detectron2's `analyze_model.py` prints them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore.nn says that TorchScript is old
        from fvcore.nn import flop_count_str, flop_count_table
    flops = FlopCountAnalysis(Net(), BATCH).unsupported_ops_warnings(False)
    conv = next(row for row in flop_count_table(flops).splitlines() if " conv " in row)
    assert [cell.strip() for cell in conv.split("|")[1:-1]] == ["conv", "0.112K", "5.184K"]
    assert "#flops: 5.18K" in flop_count_str(flops)
    assert flops.uncalled_modules() == {"unused"}


def test_mode_and_logging_are_put_back():
    net = Net().train()
    level = logging.getLogger("fvcore").level
    FlopCountAnalysis(net, BATCH)
    assert net.training
    assert logging.getLogger("fvcore").level == level


@pytest.mark.parametrize("config", [tiny.rcnn_config, tiny.retinanet_config])
def test_detectors_count_as_in_torchs_own_counter(config):
    """That one counts a multiplication and its addition as two, and no resampling."""
    model = build_model(config()).eval()
    image = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    batch = [{"image": image, "height": 64, "width": 96}]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    counted = FlopCountAnalysis(model, batch).by_operator()
    assert counted["conv"] + counted["linear"] == counter.get_total_flops() / 2


def test_parameters_are_counted_in_every_module_above_them():
    counts = parameter_count(Net())
    assert counts["conv.weight"] == 108
    assert counts["conv"] == 112
    assert counts["last"] == 25
    assert counts[""] == 112 + 25 + 6
    lines = parameter_count_table(Net(), max_depth=1).splitlines()
    assert [line.split() for line in lines] == [
        ["model", "143"],
        ["conv", "112"],
        ["last", "25"],
        ["unused", "6"],
    ]


def test_parameters_that_no_loss_reaches_are_named():
    net = Net()
    assert find_unused_parameters(net.train(), BATCH) == ["unused.weight", "unused.bias"]
    with pytest.raises(ValueError, match=r"call model\.train\(\)"):
        find_unused_parameters(net.eval(), BATCH)
