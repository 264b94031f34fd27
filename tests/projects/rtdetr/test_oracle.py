"""Equal numbers: what the library transformers computes with the same weights, and our model."""

import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.modeling import build_model
from d2lite.modeling.transformer import Predictions, SetCriterion, SetMatcher, edge_steps
from d2lite.structures import Boxes, Instances

from .published import KINDS, NUM_CLASSES, published_model
from .small import base_cfg

BOXES = [[0.3, 0.4, 0.2, 0.2], [0.6, 0.6, 0.3, 0.5]], [[0.5, 0.5, 0.4, 0.2]]
LABELS = [1, 2], [4]


def load_ours(model, folder):
    """Our model from the folder that theirs was saved in."""
    model.save_pretrained(folder)
    ours = build_model(base_cfg("MODEL.WEIGHTS", str(folder)))
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(folder))
    return ours, checkpointer.report


def in_their_order(ours, theirs):
    """Rows of ours that are nearest to theirs: cells of equal score may be chosen in any order."""
    return ours[torch.cdist(ours, theirs).argmin(dim=0)]


@pytest.mark.parametrize("size", [(96, 96), (64, 128)], ids=["square", "wide"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_boxes_are_theirs(tmp_path, kind, size):
    """All weights have a place, and the hyperparameters follow from config.json alone."""
    theirs = published_model(kind).eval()
    ours, report = load_ours(theirs, tmp_path)
    assert not report.missing
    assert not report.unexpected
    assert not report.other_shape
    pixels = torch.rand(2, 3, *size)
    ours.eval()
    with torch.no_grad():
        expected = theirs(pixel_values=pixels)
        features = ours.backbone(pixels)
        encoded = ours.encoder([features[name] for name in ours.in_features])
        found = ours.decoder(encoded).found
    for image in range(2):
        mine = torch.cat([found.logits[-1, image], found.boxes[-1, image]], dim=1)
        their = torch.cat([expected.logits[image], expected.pred_boxes[image]], dim=1)
        assert (in_their_order(mine, their) - their).abs().max() < 1e-4


def _labels():
    return [
        {"class_labels": torch.tensor(labels), "boxes": torch.tensor(boxes)}
        for labels, boxes in zip(LABELS, BOXES, strict=True)
    ]


def _batch(pixels):
    height, width = pixels.shape[-2:]
    size = torch.tensor([width, height, width, height])
    batch = []
    for image, labels, boxes in zip(pixels, LABELS, BOXES, strict=True):
        center, sides = torch.tensor(boxes).split(2, dim=1)
        corners = torch.cat([center - sides / 2, center + sides / 2], dim=1) * size
        truth = Instances((height, width), gt_boxes=Boxes(corners), gt_classes=torch.tensor(labels))
        batch.append({"image": image, "instances": truth})
    return batch


@pytest.mark.parametrize("kind", ["rt_detr_v2 basic", "rt_detr_v2", "rt_detr"])
def test_losses_of_rtdetr_are_theirs(tmp_path, kind):
    """In training mode, with the norms of the backbone fixed as there; without denoising."""
    theirs = published_model(kind).train()
    ours, _ = load_ours(theirs, tmp_path)
    pixels = torch.rand(2, 3, 96, 96)
    expected = theirs(pixel_values=pixels, labels=_labels()).loss_dict
    found = ours.train().losses(_batch(pixels * 255))
    # Theirs count the prediction of the encoder as one more layer.
    names = {name: name.replace("_enc_0", "_aux_2") for name in found}
    assert set(names.values()) == set(expected)
    for mine, their in names.items():
        assert abs(found[mine].item() - expected[their].item()) < 1e-3, mine


def test_losses_of_dfine_are_theirs():
    """Of the same predictions, in the order in which transformers pairs them.

    There the logits and boxes of auxiliary prediction i are those before layer i, and the
    distributions those of layer i; in our model all are those of layer i.
    """
    theirs = published_model("d_fine").train()
    pixels = torch.rand(2, 3, 96, 96)
    out = theirs(pixel_values=pixels, labels=_labels())
    criterion = SetCriterion(
        NUM_CLASSES,
        SetMatcher(),
        {"class": 1.0, "bbox": 5.0, "giou": 2.0, "fgl": 0.15, "ddf": 1.5},
        steps=edge_steps(32, 0.5, 4.0),
        curvature=4.0,
    )

    def layers(of_all):
        return [of_all[:, 0], of_all[:, 1], of_all[:, -1]]

    found = criterion(
        Predictions(
            ["_aux_0", "_aux_1", "", "_aux_2"],
            torch.stack([*layers(out.intermediate_logits), out.enc_topk_logits]),
            torch.stack([*layers(out.intermediate_reference_points), out.enc_topk_bboxes]),
            out.intermediate_predicted_corners.transpose(0, 1),
            out.initial_reference_points[:, 0],
        ),
        [{"labels": truth["class_labels"], "boxes": truth["boxes"]} for truth in _labels()],
    )
    for name, value in out.loss_dict.items():
        assert abs(found[name].item() - value.item()) < 1e-3, name
