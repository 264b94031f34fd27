"""Equal numbers: what the library transformers computes with the same weights, and our models."""

import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.modeling import build_model
from d2lite.structures import Boxes, ImageList, Instances

from .published import KINDS, published_model
from .small import base_cfg

BOXES = [[0.3, 0.4, 0.2, 0.2], [0.6, 0.6, 0.3, 0.5]], [[0.5, 0.5, 0.4, 0.2]]
LABELS = [1, 2], [4]
# Height and width of each image; the second has padding.
SIZES = {"alike": [(96, 128), (96, 128)], "padded": [(96, 128), (70, 90)]}


def load_ours(kind, model, folder):
    """Our model from the folder that theirs was saved in."""
    model.save_pretrained(folder)
    ours = build_model(base_cfg(kind, "MODEL.WEIGHTS", str(folder)))
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(folder))
    report = checkpointer.report
    assert not report.missing
    assert not report.unexpected
    assert not report.other_shape
    return ours


def inputs(sizes):
    """Pixels (N, 3, H, W) with zeros as padding, and where they are not padding."""
    torch.manual_seed(0)
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    pixels = torch.zeros(len(sizes), 3, height, width)
    seen = torch.zeros(len(sizes), height, width, dtype=torch.long)
    for image, (own_height, own_width) in enumerate(sizes):
        pixels[image, :, :own_height, :own_width] = torch.rand(3, own_height, own_width)
        seen[image, :own_height, :own_width] = 1
    return pixels, seen


def in_their_order(ours, theirs):
    """Rows of ours that are nearest to theirs: cells of equal score may be chosen in any order."""
    return ours[torch.cdist(ours, theirs).argmin(dim=0)]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_boxes_are_theirs(tmp_path, kind, sizes):
    """All weights have a place, and the hyperparameters follow from config.json alone."""
    theirs = published_model(kind).eval()
    ours = load_ours(kind, theirs, tmp_path).eval()
    pixels, seen = inputs(sizes)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels, pixel_mask=seen)
        found = ours.decode(ImageList(pixels, sizes)).found
    for image in range(len(sizes)):
        mine = torch.cat([found.logits[-1, image], found.boxes[-1, image]], dim=1)
        their = torch.cat([expected.logits[image], expected.pred_boxes[image]], dim=1)
        assert (in_their_order(mine, their) - their).abs().max() < 1e-4


def _batch(ours, pixels, sizes, labels):
    """Inputs of ours that are normalised to `pixels`."""
    batch = []
    for image, (height, width), truth in zip(pixels, sizes, labels, strict=True):
        center, sides = truth["boxes"].split(2, dim=1)
        corners = torch.cat([center - sides / 2, center + sides / 2], dim=1)
        instances = Instances(
            (height, width),
            gt_boxes=Boxes(corners * torch.tensor([width, height, width, height])),
            gt_classes=truth["class_labels"],
        )
        own = image[:, :height, :width] * ours.pixel_std + ours.pixel_mean
        batch.append({"image": own, "instances": instances})
    return batch


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_theirs(tmp_path, kind, sizes):
    """Of all layers and of the first stage, before they are weighted."""
    theirs = published_model(kind).train()
    ours = load_ours(kind, theirs, tmp_path).train()
    assert ours.criterion.weights["bbox"] == 5.0
    ours.criterion.weights = dict.fromkeys(ours.criterion.weights, 1.0)
    pixels, seen = inputs(sizes)
    labels = [
        {"class_labels": torch.tensor(classes), "boxes": torch.tensor(boxes)}
        for classes, boxes in zip(LABELS, BOXES, strict=True)
    ]
    out = theirs(pixel_values=pixels, pixel_mask=seen, labels=labels)
    expected = {name.replace("ce", "focal"): value for name, value in out.loss_dict.items()}
    found = {
        name.replace("_aux", "").replace("_ce", "_focal"): value
        for name, value in ours.losses(_batch(ours, pixels, sizes, labels)).items()
    }
    parts = {}
    if kind == "detr":
        decoded = ours.decode(ImageList(pixels, sizes), []).found
        parts = {
            ending.replace("_aux", ""): (decoded.logits[i], decoded.boxes[i], labels)
            for i, ending in enumerate(decoded.endings)
        }
    if kind == "two stages":
        # It has only one class. Their model does not compute its losses, but they can.
        alike = [{**one, "class_labels": torch.zeros_like(one["class_labels"])} for one in labels]
        boxes = out.enc_outputs_coord_logits.sigmoid()
        parts["_enc"] = (out.enc_outputs_class, boxes, alike)
    theirs.config.auxiliary_loss = False
    for ending, (logits, boxes, truth) in parts.items():
        of_part = theirs.loss_function(logits, truth, "cpu", boxes, theirs.config, None, None)[1]
        for name, value in of_part.items():
            expected[name.replace("ce", "focal") + ending] = value
    expected = {name: value for name, value in expected.items() if name.startswith("loss")}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(found[name].item() - value.item()) < 1e-3, name


def test_dilated_stage_is_theirs(tmp_path):
    """DC5: the first block of res5 is not dilated in published weights."""
    pytest.importorskip("timm")
    options = {"backbone": "resnet50", "backbone_config": None, "use_timm_backbone": True}
    theirs = published_model("detr", dilation=True, **options).eval()
    ours = load_ours("detr", theirs, tmp_path).eval()
    pixels = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels)
        found = ours.decode(ImageList(pixels, [(64, 96)])).found
        assert ours.backbone(pixels)["res5"].shape[-2:] == (4, 6)
    assert (found.boxes[-1] - expected.pred_boxes).abs().max() < 1e-4
    assert (found.logits[-1] - expected.logits).abs().max() < 1e-4
