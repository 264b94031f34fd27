"""Weights of MMDetection and torchvision give the outputs and losses that they have there.

The figures of MMDetection 3.3.0 were recorded from the model that it builds from its configuration
file with three classes, with the weights of `published.drawn_weights`.
"""

import pytest
import torch
import torchvision
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.ops import box_iou

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import find_config_file, get_cfg
from d2lite.modeling import build_model
from d2lite.projects.ssd import SSD, SSDAnchorGenerator, add_ssd_config
from d2lite.structures import Boxes

from ..published import batch, check_levels, load_drawn
from .small import NUM_CLASSES, small_cfg

RAW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.PIXEL_MEAN", "[0.0, 0.0, 0.0]",
    "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]",
]  # fmt: skip
# Of each map: the mean, and the largest absolute value; of maps, logits and deltas.
OUTPUTS = (
    [(6.2e-05, 0.04447), (1.795347, 20.457), (1.568741, 17.42315), (1.390209, 23.31219),
     (2.053232, 18.46239), (2.240201, 15.78355)],
    [(0.002268, 0.14257), (-0.661498, 20.31849), (0.910678, 11.67592), (0.414153, 15.65663),
     (-0.818833, 12.77939), (0.338469, 3.16203)],
    [(-0.010312, 0.17158), (0.366347, 15.646), (1.363747, 12.21429), (0.123538, 14.39735),
     (1.333391, 13.13198), (-0.312236, 3.51908)],
)  # fmt: skip


def name_in_mmdetection(name: str) -> str:
    for ours, theirs in (
        ("backbone.l2_norm", "neck.l2_norm"),
        ("backbone.extra", "neck.extra"),
        ("head", "bbox_head"),
    ):
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    name = name.replace(".conv1.", ".0.conv.").replace(".conv2.", ".1.conv.")
    head, dot, leaf = name.rpartition(".")
    return f"{head}.0{dot}{leaf}" if name.startswith("bbox_head") else name


def _images():
    """The recorded batch, enlarged to 300 pixels without its boxes."""
    pixels = torch.stack([item["image"] for item in batch()])
    return torch.nn.functional.interpolate(pixels, (300, 300), mode="nearest")


def _run(model, images):
    """Maps, logits and deltas."""
    with torch.no_grad():
        maps = list(model.backbone(images).values())
        return maps, *model.head(maps)


def test_outputs_and_losses_of_mmdetection(tmp_path):
    model = build_model(small_cfg("ssd300.yaml", *RAW)).eval()
    load_drawn(model, name_in_mmdetection, tmp_path)
    maps, logits, deltas = _run(model, _images())
    for levels, expected in zip((maps, logits, deltas), OUTPUTS, strict=True):
        check_levels(levels, expected)
    first, second = (item["instances"] for item in batch())
    for truth, expected in (
        ((first, second), (38.54063 + 14.720042, 6.792686 + 2.377002)),
        ((first, second[:0]), (47.434624, 8.360229)),
    ):
        losses = model.forward_training(None, maps, (logits, deltas), truth)
        assert list(losses) == ["loss_cls", "loss_bbox"]
        assert [value.item() for value in losses.values()] == pytest.approx(expected, rel=1e-4)


# Of SSDLite for 96 x 128 pixels, in the same order, and its losses.
LITE_OUTPUTS = (
    [(-0.010313, 15.07768), (0.862351, 6.0), (0.432306, 3.94192), (0.199198, 1.69348),
     (0.086162, 0.72284), (0.055389, 0.3489)],
    [(0.59858, 11.11738), (-0.096366, 3.99457), (0.018768, 1.71028), (-0.062993, 0.49598),
     (0.043169, 0.35543), (-0.008378, 0.45815)],
    [(0.173851, 7.3527), (-0.058568, 4.9612), (0.014177, 1.65642), (-0.049218, 0.47774),
     (-0.067466, 0.38854), (0.015746, 0.39102)],
)  # fmt: skip
LITE_LOSSES = (27.975605, 7.487138)


def lite_name_in_mmdetection(name: str) -> str:
    name = name.replace("backbone.extra", "neck.extra").replace("head.", "bbox_head.", 1)
    if name.startswith("neck"):
        name = name.replace(".conv1.", ".0.").replace(".conv2.", ".1.")
    return name


def test_outputs_and_losses_of_ssdlite(tmp_path):
    model = build_model(small_cfg("ssdlite_mobilenetv2.yaml", *RAW)).eval()
    load_drawn(model, lite_name_in_mmdetection, tmp_path)
    found = _run(model, torch.stack([item["image"] for item in batch()]))
    for levels, expected in zip(found, LITE_OUTPUTS, strict=True):
        check_levels(levels, expected)
    maps, *predictions = found
    losses = model.forward_training(None, maps, predictions, [i["instances"] for i in batch()])
    assert [value.item() for value in losses.values()] == pytest.approx(LITE_LOSSES, rel=1e-4)


class _Anchors(torch.nn.Module):
    def __init__(self, boxes):
        super().__init__()
        self.boxes = Boxes(boxes)

    def forward(self, features):
        return [self.boxes]


def test_outputs_and_losses_of_torchvision(tmp_path):
    """Its classes begin with the background; its last anchors are cut to the size of the image."""
    with torch.device("meta"):
        theirs = torchvision.models.detection.ssd300_vgg16(
            weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1
        )
    theirs = theirs.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for value in theirs.parameters():
        fan = value[0].numel() if value.dim() > 1 else 100
        value.data = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5
    torch.save({"model": theirs.state_dict()}, tmp_path / "ssd.pth")
    model = build_model(small_cfg("ssd300.yaml", *RAW)).eval()
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "ssd.pth"))
    assert not checkpointer.report.missing
    assert not checkpointer.report.unexpected

    images, truth = _images()[:1], batch()[0]["instances"]
    features = list(theirs.backbone(images).values())
    expected = theirs.head(features)
    maps, *predictions = _run(model, images)
    logits, deltas = (torch.cat(levels, dim=1) for levels in model._by_anchor(predictions))
    near = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(logits.roll(1, dims=2), expected["cls_logits"], **near)
    torch.testing.assert_close(deltas, expected["bbox_regression"], **near)

    sizes = torchvision.models.detection.image_list.ImageList(images, [(300, 300)])
    anchors = theirs.anchor_generator(sizes, features)
    target = {"boxes": truth.gt_boxes.tensor, "labels": truth.gt_classes + 1}
    matches = [theirs.proposal_matcher(box_iou(target["boxes"], anchors[0]))]
    wanted = theirs.compute_loss([target], expected, anchors, matches)
    model.anchor_generator = _Anchors(anchors[0])
    losses = model.forward_training(None, maps, predictions, [truth])
    assert losses["loss_cls"].item() == pytest.approx(wanted["classification"].item(), rel=1e-4)
    assert losses["loss_bbox"].item() == pytest.approx(wanted["bbox_regression"].item(), rel=1e-4)


def test_anchors_are_those_of_torchvision():
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    theirs = DefaultBoxGenerator(
        ratios,
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
        clip=False,
    )
    maps = [torch.zeros(1, 1, side, side) for side in (38, 19, 10, 5, 3, 1)]
    images = torchvision.models.detection.image_list.ImageList(
        torch.zeros(1, 3, 300, 300), [(300, 300)]
    )
    node = small_cfg().MODEL
    ours = SSDAnchorGenerator(
        sizes=node.ANCHOR_GENERATOR.SIZES,
        aspect_ratios=node.ANCHOR_GENERATOR.ASPECT_RATIOS,
        strides=node.SSD.STRIDES,
    )
    boxes = Boxes.cat(ours(maps)).tensor
    assert len(boxes) == 8732
    torch.testing.assert_close(boxes, theirs(images, maps)[0], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [("ssd300", 3, 24013232), ("ssd512", 3, 24681312), ("ssdlite_mobilenetv2", 80, 4228788)],
)
def test_each_recipe_has_the_published_number_of_parameters(name, num_classes, count):
    """Of the models that MMDetection 3.3.0 builds from its files."""
    cfg = get_cfg()
    add_ssd_config(cfg)
    cfg.merge_from_file(find_config_file(f"{name}.yaml"))
    cfg.merge_from_list(["MODEL.SSD.NUM_CLASSES", num_classes])
    with torch.device("meta"):
        model = SSD(cfg)
    assert sum(value.numel() for value in model.parameters()) == count
