"""DETR, its successors and RT-DETR on images of all kinds: losses, results, padding, precision."""

import pytest
import torch

from d2lite.structures import Instances

from .detr import small as detr
from .rtdetr import small as rtdetr
from .rtdetr.small import NUM_CLASSES, image

pytestmark = pytest.mark.parametrize("kind", [*detr.KINDS, *rtdetr.KINDS])


def build(kind: str, *opts):
    """A small model."""
    return (detr if kind in detr.KINDS else rtdetr).build(kind, *opts)


def section(kind: str) -> str:
    """The section of the configuration that a kind of model has."""
    return "MODEL.DETR" if kind in detr.KINDS else "MODEL.RTDETR"


@pytest.mark.parametrize(
    "counts", [(0, 0), (0, 3), (1, 2), (300, 1)], ids=["none", "one without", "few", "300"]
)
def test_losses_are_finite_and_reach_every_parameter(kind, counts):
    """DistributedDataParallel waits for parameters without a gradient; empty batches are ordinary.

    300 objects are more than queries, and two images of unequal sizes are padded.
    """
    model = build(kind)
    losses = model([image(0, counts[0]), image(1, counts[1], 50, 70)])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    learns = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert not [name for name, value in learns.items() if value.grad is None]
    assert all(value.grad.isfinite().all() for value in learns.values())


def test_results_are_boxes_in_pixels_of_the_wanted_size(kind):
    model = build(kind).eval()
    items = [{**image(0, 0, 61, 95), "height": 122, "width": 190}]
    with torch.no_grad():
        found = model(items)[0]["instances"]
    assert isinstance(found, Instances)
    assert found.image_size == (122, 190)
    assert 0 < len(found) <= 10
    assert found.pred_boxes.tensor.min() >= 0
    assert (found.pred_boxes.tensor[:, 2] <= 190).all()
    assert (found.pred_boxes.tensor[:, 3] <= 122).all()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.pred_classes.max() < NUM_CLASSES


def test_an_image_alone_and_in_a_padded_batch_gives_the_same_result(kind):
    model = build(kind).eval()
    items = [image(0, 0, 60, 90), image(1, 0, 96, 64), image(2, 0, 60, 90)]
    with torch.no_grad():
        together = [out["instances"] for out in model(items)]
        alone = [model([item])[0]["instances"] for item in items]
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first.scores, second.scores)
        torch.testing.assert_close(
            first.pred_boxes.tensor, second.pred_boxes.tensor, atol=1e-3, rtol=1e-4
        )


@pytest.mark.parametrize("size", [(1, 1), (20, 33), (32, 32)])
def test_images_of_fewer_cells_than_queries_train_and_predict(kind, size):
    """RT-DETR has 16 + 4 + 1 cells for 32 x 32 pixels."""
    queries = "NUM_OBJECT_QUERIES" if kind in detr.KINDS else "DECODER.QUERIES"
    model = build(kind, f"{section(kind)}.{queries}", 100)
    item = image(0, 1, *size)
    losses = model([item, image(1, 2, 64, 64)])
    assert all(loss.isfinite() for loss in losses.values())
    model.eval()
    with torch.no_grad():
        found = model([item])[0]["instances"]
    assert found.scores.isfinite().all()
    assert found.image_size == size


def test_another_size_in_prediction_than_in_training_works(kind):
    model = build(kind)
    model([image(0, 2, 64, 64)])
    model.eval()
    with torch.no_grad():
        assert len(model([image(0, 0, 128, 224)])[0]["instances"])


def test_one_class_and_fewer_pairs_than_results(kind):
    classes = f"{section(kind)}.NUM_CLASSES"
    model = build(kind, classes, 1, "TEST.DETECTIONS_PER_IMAGE", 300)
    item = image(0, 2)
    item["instances"].gt_classes.zero_()
    assert all(loss.isfinite() for loss in model([item]).values())
    model.eval()
    with torch.no_grad():
        found = model([item])[0]["instances"]
    assert len(found) <= 12
    assert (found.pred_classes == 0).all()


def test_mixed_precision_gives_nearly_the_same_losses(kind):
    """Places, costs and losses are computed in float32."""
    batch = [{**image(seed, 3), "draw_key": seed} for seed in range(2)]
    model = build(kind, f"{section(kind)}.DROPOUT", 0.0)
    with torch.no_grad():
        full = model.losses(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model.losses(batch)
    assert all(loss.dtype == torch.float32 for loss in half.values())
    assert abs(sum(half.values()) / sum(full.values()) - 1) < 0.05
