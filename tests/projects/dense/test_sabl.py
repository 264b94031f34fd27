"""Which cells learn which object in SABL, and its losses, against loops."""

import numpy as np
import pytest
import torch

from d2lite.modeling import build_model
from d2lite.projects.dense.sabl import assign_by_overlap
from d2lite.utils.errors import ConfigError

from .small import NUM_CLASSES, image, small_cfg


def test_objects_have_their_best_cells_and_other_cells_their_best_object():
    quality = torch.tensor(
        [
            [0.60, 0.45, 0.39, 0.10, 0.00, 0.55],
            [0.55, 0.20, 0.10, 0.30, 0.00, 0.52],
            [0.20, 0.00, 0.00, 0.00, 0.00, 0.10],
            [0.00, 0.00, 0.00, 0.00, 0.00, 0.00],
        ]
    )
    owner, is_unsure = assign_by_overlap(quality, 0.4, 0.5)
    # Three objects have the first cell as their best one; the last has none.
    assert owner.tolist() == [2, -1, -1, -1, -1, 0]
    assert is_unsure.tolist() == [False, True, False, False, False, False]


def test_without_objects_no_cell_learns_one():
    owner, is_unsure = assign_by_overlap(torch.zeros(0, 5), 0.4, 0.5)
    assert owner.tolist() == [-1] * 5
    assert not is_unsure.any()


def _iou(box, other):
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return shared / (sum(np.prod(np.subtract(b[2:], b[:2])) for b in (box, other)) - shared)


def test_a_cell_has_the_iou_of_its_best_anchor_of_retinanet():
    model = build_model(small_cfg("SABLRetinaNet"))
    sample = image(0, 2)
    features = [torch.zeros(1, 1, 8 >> i or 1, 12 >> i or 1) for i in range(5)]
    boxes = sample["instances"].gt_boxes.tensor.numpy()
    quality = []
    for level, stride in enumerate((8, 16, 32, 64, 128)):
        for y, x in np.ndindex(*features[level].shape[2:]):
            best = [0.0] * len(boxes)
            for octave in (0, 1, 2):
                for ratio in (0.5, 1.0, 2.0):
                    side = 4 * stride * 2 ** (octave / 3)
                    half = np.array([side / ratio**0.5, side * ratio**0.5]) / 2
                    centre = np.array([x, y]) * stride
                    anchor = np.concatenate([centre - half, centre + half])
                    best = [max(b, _iou(anchor, box)) for b, box in zip(best, boxes, strict=True)]
            quality.append(best)
    wanted = assign_by_overlap(torch.tensor(quality).T, 0.4, 0.5)
    owners, left_out = model._assign(features, [sample["instances"]])
    assert torch.equal(owners[0], wanted[0])
    assert torch.equal(left_out[0], wanted[1])
    assert (owners[0] >= 0).any()


def test_losses_are_means_over_the_cells_that_learn():
    """Of the classes of sure cells, of the buckets that are sure, and of two offsets a side."""
    torch.manual_seed(0)
    model = build_model(small_cfg("SABLRetinaNet"))
    batch = [image(0, 3), image(1, 0)]
    with torch.no_grad():
        losses = model.losses(batch)
        _, features, predictions = model._run_network(batch)
        logits, scores, offsets = (torch.cat(x, dim=1) for x in model._by_cell(predictions))
        anchors = torch.cat([boxes.tensor for boxes in model.anchor_generator(features)])
        owners, left_out = model._assign(features, [x["instances"] for x in batch])
    truth = batch[0]["instances"]
    class_loss = bucket_loss = offset_loss = 0.0
    for n, r in np.ndindex(2, len(anchors)):
        owner = owners[n][r].item()
        category = truth.gt_classes[owner].item() if owner >= 0 else None
        if not left_out[n, r]:
            for c in range(NUM_CLASSES):
                chance = torch.sigmoid(logits[n, r, c]).item()
                right = chance if c == category else 1 - chance
                weight = 0.25 if c == category else 0.75
                class_loss -= weight * (1 - right) ** 2 * np.log(right)
        if owner >= 0:
            targets = model.box2box_transform.find_targets(
                anchors[r : r + 1], truth.gt_boxes.tensor[owner][None]
            )
            for i, (label, sure, offset, learnt) in enumerate(
                zip(*(x.flatten().tolist() for x in targets), strict=True)
            ):
                chance = torch.sigmoid(scores[n, r, i]).item()
                bucket_loss -= sure * np.log(chance if label else 1 - chance)
                away = abs(offsets[n, r, i].item() - offset)
                smooth = away - 1 / 18 if away > 1 / 9 else 4.5 * away**2
                offset_loss += learnt * smooth
    # The image without objects counts as one cell.
    cells = sum(int((owner >= 0).sum()) for owner in owners) + 1
    assert losses["loss_cls"].item() == pytest.approx(class_loss / cells, rel=1e-4)
    assert losses["loss_bucket"].item() == pytest.approx(1.5 * bucket_loss / cells / 28, rel=1e-4)
    assert losses["loss_bbox"].item() == pytest.approx(1.5 * offset_loss / cells / 8, rel=1e-4)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NUM_BUCKETS", 2, "use at least 3 buckets"),
        ("BUCKET_SCALE", 0.0, "a scale above 0"),
        ("IOU_THRESHOLDS", [0.5], "two ascending numbers"),
        ("IOU_THRESHOLDS", [0.5, 0.4], "two ascending numbers"),
    ],
)
def test_numbers_that_mean_no_buckets_are_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        build_model(small_cfg("SABLRetinaNet", f"MODEL.DENSE.{key}", value))
