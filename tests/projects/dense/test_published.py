"""Weights by MMDetection's names give the losses and detections that MMDetection 3.3.0 gave.

The figures were recorded from its models, built from its configuration files with ResNet-18, few
channels and three classes, with the weights of `small.drawn`; deformable convolutions and NMS
were torchvision's. Boxes of SABL, too, were cut at the border of the image, not at its last pixel.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.modeling import build_model
from d2lite.structures import Boxes, Instances

from .small import drawn, small_cfg, their_name


class Recorded(NamedTuple):
    """What MMDetection gave.

    losses: as its log has them, in our order.
    scores: of the first three detections of the first image.
    box: of the first one.
    counts: detections of each image.
    total: the sum of all scores of all images.
    tolerance: of the losses; FSAF leaves out cells of fewer levels, and lets sides be at 0.
    """

    losses: tuple[float, ...]
    scores: tuple[float, ...]
    box: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    tolerance: float = 1e-4


_CENTER = [
    "MODEL.DENSE.DISTANCES", "relu",
    "MODEL.DENSE.CENTERNESS_TOWER", "box",
    "MODEL.DENSE.CENTER_SAMPLING_RADIUS", 1.5,
    "MODEL.DENSE.CONV_BIAS", True,
    "MODEL.DENSE.BOX_LOSS", "giou",
    "MODEL.DENSE.NMS_THRESH_TEST", 0.6,
]  # fmt: skip
_DEFORMED = ["MODEL.DENSE.DEFORM_LAST", True]

RECORDED = {
    "atss": ("ATSS", [], Recorded(
        (17.865541, 0.714651, 0.736942), (0.599055, 0.529018, 0.521286),
        (0.2070, 13.2754, 128.0, 96.0), (92, 92, 86), 90.24916)),
    "gfl": ("GFL", [], Recorded(
        (18.900864, 1.457747, 0.722780), (0.833083, 0.789068, 0.779077),
        (5.4786, 0.0, 128.0, 96.0), (19, 19, 20), 38.53028)),
    "vfnet": ("VFNet", [], Recorded(
        (14.648358, 1.047190, 1.427378), (0.733637, 0.705201, 0.704153),
        (32.4610, 0.0, 126.9129, 63.5091), (48, 46, 40), 77.91870)),
    "vfnet, deformed": ("VFNet", _DEFORMED, Recorded(
        (14.754335, 0.999257, 1.389749), (0.755135, 0.714939, 0.700258),
        (34.9826, 0.0, 91.3349, 96.0), (41, 50, 37), 73.72387)),
    "fsaf": ("FSAF", ["MODEL.DENSE.IGNORED_REGION", 0.2], Recorded(
        (53.366803, 4.004366), (0.568126, 0.565105, 0.564911),
        (24.0, 71.0810, 25.9007, 72.0), (100, 100, 100), 162.75413, tolerance=0.02)),
    "sabl": ("SABLRetinaNet", [], Recorded(
        (5.258229, 0.910763, 0.657546), (0.155965, 0.154229, 0.153920),
        (0.0, 61.9447, 35.3559, 82.1362), (100, 100, 100), 41.72899)),
    "sabl, norms": ("SABLRetinaNet", ["MODEL.DENSE.NORM", "GN"], Recorded(
        (6.039413, 0.986880, 0.754890), (0.412268, 0.381297, 0.331588),
        (0.0, 0.0, 22.7560, 30.3347), (100, 100, 100), 71.80135)),
    "fcos": ("ScaledFCOS", [], Recorded(
        (1.597340, 7.130280, 0.714300), (0.498461, 0.485434, 0.464134),
        (10.9064, 82.8847, 12.4598, 84.6130), (100, 100, 100), 105.62401)),
    "fcos, centres": ("ScaledFCOS", _CENTER, Recorded(
        (9.414120, 0.999367, 0.720385), (0.469481, 0.465078, 0.447279),
        (82.2395, 50.7025, 84.9175, 52.0), (100, 100, 100), 94.56514)),
    "fcos, centres, deformed": ("ScaledFCOS", [*_CENTER, *_DEFORMED], Recorded(
        (9.321289, 0.999642, 0.702345), (0.474666, 0.473747, 0.457683),
        (41.6494, 28.0, 44.0, 29.5465), (100, 100, 100), 89.51889)),
}  # fmt: skip


@pytest.fixture(params=RECORDED)
def loaded(request, tmp_path):
    """A model with the drawn weights, by way of a file, and what it should give."""
    kind, opts, recorded = RECORDED[request.param]
    pixels = ["MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]]
    score = ["MODEL.DENSE.SCORE_THRESH_TEST", 0.3]
    model = build_model(small_cfg(kind, *pixels, *score, *opts)).eval()
    weights = {}
    for name, value in model.state_dict().items():
        theirs = their_name(kind, name)
        weights[theirs] = drawn(theirs, value.shape)
    torch.save({"meta": {"epoch": 12}, "state_dict": weights}, tmp_path / "theirs.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "theirs.pth"))
    assert not checkpointer.report.missing
    assert not checkpointer.report.unexpected
    return model, recorded


def _batch():
    """The last image has no object."""
    pixels = torch.from_numpy(np.random.RandomState(0).randn(3, 3, 96, 128)).float()
    boxes = [[[10, 12, 60, 70], [50, 20, 121, 90], [30, 41, 44, 52]], [[5, 5, 90, 61]], []]
    return [
        {
            "image": image,
            "instances": Instances(
                (96, 128),
                gt_boxes=Boxes(torch.tensor(rows).float().reshape(-1, 4)),
                gt_classes=torch.tensor(classes, dtype=torch.int64),
            ),
        }
        for image, rows, classes in zip(pixels, boxes, ([0, 2, 1], [1], []), strict=True)
    ]


def test_losses_and_detections(loaded):
    model, recorded = loaded
    with torch.no_grad():
        losses = model.losses(_batch())
        results = [result["instances"] for result in model.predict(_batch())]
    found = [x.item() for x in losses.values()]
    assert found == pytest.approx(recorded.losses, rel=recorded.tolerance)
    assert tuple(map(len, results)) == recorded.counts
    assert results[0].scores[:3].tolist() == pytest.approx(recorded.scores, abs=1e-4)
    assert results[0].pred_boxes.tensor[0].tolist() == pytest.approx(recorded.box, abs=1e-3)
    total = sum(result.scores.sum().item() for result in results)
    assert total == pytest.approx(recorded.total, rel=1e-4)
