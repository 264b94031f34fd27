"""Checkpoints of AdelaiDet: detectron2's layout around the names of SOLOv2."""

import collections

import numpy as np
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.modeling import build_model

from ..projects.solov2.small import small_cfg


def test_solov2_of_adelaidet_loads_whole(tmp_path):
    """Its trainer saves optimizer, schedule and iteration beside the weights."""
    torch.manual_seed(1)
    source = build_model(small_cfg())
    weights = collections.OrderedDict(source.state_dict())
    # Older checkpoints hold these constants among the weights.
    weights["pixel_mean"] = torch.zeros(3, 1, 1)
    weights["pixel_std"] = torch.ones(3, 1, 1)
    content = {
        "model": weights,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []},
        "scheduler": {"base_lrs": [np.float64(0.01)], "last_epoch": 90000},
        "iteration": 89999,
    }
    torch.save(content, tmp_path / "SOLOv2_R50_3x.pth")
    torch.manual_seed(2)
    model = build_model(small_cfg())
    checkpointer = DetectionCheckpointer(model)
    rest = checkpointer.load(str(tmp_path / "SOLOv2_R50_3x.pth"))
    assert rest["iteration"] == 89999
    assert checkpointer.report.missing == []
    assert checkpointer.report.unexpected == []
    assert checkpointer.report.other_shape == []
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in source.state_dict().items())
