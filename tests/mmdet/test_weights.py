"""Checkpoints of MMDetection give its predictions, also those that hold the curves of a run.

The figures were recorded from MMDetection 3.3.0: its Mask R-CNN with ResNet-18, 16 channels and
three classes, in evaluation mode, with the weights of `their_weight`; regions were cut out by
torchvision's operators.
"""

import sys
import types
import zlib
from collections import OrderedDict

import numpy as np
import pytest
import torch

from d2lite import model_zoo
from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.reading import read_checkpoint, stored_class_names
from d2lite.modeling import build_model
from d2lite.utils.errors import WeightsError

NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.FPN.OUT_CHANNELS", 16,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM", 16,
    "MODEL.ROI_HEADS.NUM_CLASSES", 3,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.2,
    "MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0],
    "MODEL.PIXEL_STD", [1.0, 1.0, 1.0],
]  # fmt: skip


def their_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"backbone.conv1.weight": (16, 3, 7, 7)}

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)

    def layer(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (shape[0],)

    norm("backbone.bn1", 16)
    before = 16
    for stage, width in enumerate((16, 32, 64, 128), start=1):
        for block in range(2):
            name = f"backbone.layer{stage}.{block}"
            for conv, channels in ((1, before), (2, width)):
                shapes[f"{name}.conv{conv}.weight"] = (width, channels, 3, 3)
                norm(f"{name}.bn{conv}", width)
            if before != width:
                shapes[f"{name}.downsample.0.weight"] = (width, before, 1, 1)
                norm(f"{name}.downsample.1", width)
            before = width
        layer(f"neck.lateral_convs.{stage - 1}.conv", 16, width, 1, 1)
        layer(f"neck.fpn_convs.{stage - 1}.conv", 16, 16, 3, 3)
        layer(f"roi_head.mask_head.convs.{stage - 1}.conv", 16, 16, 3, 3)
    layer("rpn_head.rpn_conv", 16, 16, 3, 3)
    layer("rpn_head.rpn_cls", 3, 16, 1, 1)
    layer("rpn_head.rpn_reg", 12, 16, 1, 1)
    layer("roi_head.bbox_head.shared_fcs.0", 32, 16 * 7 * 7)
    layer("roi_head.bbox_head.shared_fcs.1", 32, 32)
    layer("roi_head.bbox_head.fc_cls", 4, 32)
    layer("roi_head.bbox_head.fc_reg", 12, 32)
    layer("roi_head.mask_head.upsample", 16, 16, 2, 2)
    layer("roi_head.mask_head.conv_logits", 3, 16, 1, 1)
    return shapes


def their_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A value that follows from the name."""
    values = np.random.RandomState(zlib.crc32(name.encode())).randn(*shape)
    if name.endswith("running_var"):
        values = 1 + 0.5 * values**2
    elif len(shape) > 1:
        share = 0.1 if "fc_" in name or "rpn_" in name else 1.0
        values *= (share / np.prod(shape[1:])) ** 0.5
    elif "bn" in name and name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return torch.from_numpy(values).float()


def _content() -> dict:
    weights = {name: their_weight(name, shape) for name, shape in their_shapes().items()}
    return {"meta": {"dataset_meta": {"classes": ("nut", "fig", "date")}}, "state_dict": weights}


def predicted(model, weights_file):
    """What a model with the weights of a file of MMDetection finds in an image of noise."""
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(weights_file))
    assert not checkpointer.report.missing
    assert not checkpointer.report.unexpected
    image = torch.from_numpy(np.random.RandomState(0).randn(3, 96, 128)).float()
    with torch.no_grad():
        return model([{"image": image, "height": 96, "width": 128}])[0]["instances"]


def test_mask_rcnn_predicts_what_it_predicts_there(tmp_path):
    torch.save(_content(), tmp_path / "epoch_12.pth")
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    cfg.merge_from_list(NARROW)
    model = build_model(cfg).eval()
    found = predicted(model, tmp_path / "epoch_12.pth")
    assert len(found) == 100
    boxes = [
        [69.536598, 32.909065, 95.311943, 88.137032],
        [79.063751, 3.465176, 121.948242, 31.605850],
    ]
    torch.testing.assert_close(found.pred_boxes.tensor[:2], torch.tensor(boxes), rtol=0, atol=2e-4)
    assert found.scores[:3].tolist() == pytest.approx([0.375925, 0.362388, 0.362282], abs=1e-5)
    assert found.scores.sum().item() == pytest.approx(32.594551, abs=1e-3)
    areas = found.pred_masks.flatten(1).sum(dim=1)[:8].tolist()
    assert areas == pytest.approx([1028, 1044, 1023, 829, 1020, 918, 2683, 2037], abs=2)


@pytest.fixture
def curve(monkeypatch):
    """An object as the log of MMDetection 3 holds it, with means that are named methods."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def mean(self):
            return 0.0

    for part, name in ((HistoryBuffer, ""), (HistoryBuffer.mean, ".mean")):
        part.__module__, part.__qualname__ = module.__name__, f"HistoryBuffer{name}"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = HistoryBuffer()
    made._log_history = np.arange(3.0)
    made._statistics_methods = OrderedDict(mean=HistoryBuffer.mean)
    return made


def test_curves_in_a_checkpoint_are_left_aside(curve, tmp_path):
    """Such files are what a training leaves; nothing of the class is loaded or run."""
    content = {**_content(), "message_hub": {"log_scalars": {"lr": curve}}}
    torch.save(content, tmp_path / "epoch_12.pth")
    found = read_checkpoint(str(tmp_path / "epoch_12.pth"))
    assert set(found["model"]) == set(content["state_dict"])
    assert found["message_hub"]["log_scalars"]["lr"] is None
    assert stored_class_names(found) == ["nut", "fig", "date"]


class _Attribute:
    """A pickle that asks for an attribute of something else."""

    def __init__(self, owner):
        self.owner = owner

    def __reduce__(self):
        return getattr, (self.owner, "__class__")


@pytest.mark.parametrize("owner", [OrderedDict, np.dtype("f8"), torch.zeros(1), "text"])
def test_attributes_of_anything_else_are_refused(owner, tmp_path):
    torch.save({**_content(), "more": _Attribute(owner)}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="getattr"):
        read_checkpoint(str(tmp_path / "bad.pth"))
