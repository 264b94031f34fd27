"""The recipes: each makes the model whose size is published."""

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.projects.rtdetr import RTDETR, add_rtdetr_config

# Millions of parameters, as published.
SIZES = {
    "rtdetrv2_r18": 20,
    "rtdetrv2_r50": 42,
    "rtdetrv2_r101": 76,
    "dfine_n": 4,
    "dfine_s": 10,
    "dfine_m": 19,
    "dfine_l": 31,
    "dfine_x": 62,
}


@pytest.mark.parametrize("name", SIZES)
def test_each_recipe_has_the_published_number_of_parameters(name):
    cfg = get_cfg()
    add_rtdetr_config(cfg)
    cfg.merge_from_file(find_config_file(f"{name}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    # Without memory for its weights.
    with torch.device("meta"):
        model = RTDETR(cfg)
    count = sum(value.numel() for value in model.parameters())
    assert abs(count / 1e6 - SIZES[name]) < 1
