"""What users of other libraries reported of exported detectors does not happen to our files.

Each test runs the file of every format, and the proof finds each trouble in a file that has it.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from d2lite.export import ExportedModel, open_session
from d2lite.export.comparison import Tolerance, compare_results
from d2lite.export.proof import find_images, prove
from tests.modeling.small_detectors import images_of

from .images import SIZES, as_evaluation, black_image


@pytest.fixture(scope="module")
def file(exported_file):
    return ExportedModel(exported_file)


def check(made, file, batch):
    """The file's results for a batch are those of the model for the same images, resized."""
    cfg, model, _ = made
    with torch.no_grad():
        expected = model([as_evaluation(cfg, item) for item in batch])
    for ours, theirs in zip(expected, file(batch), strict=True):
        assert len(theirs["instances"]) == pytest.approx(len(ours["instances"]), abs=2)
        # The last ones of many random detections are kept or not by the last digit of a score.
        lowest = float(ours["instances"].scores[:20].min())
        difference = compare_results(ours, theirs, lowest)
        assert difference.detections > 10
        # Probabilities of random masks lie around the threshold.
        assert not difference.faults(Tolerance(mask=0.25), 128), difference


@pytest.mark.parametrize("sizes", [SIZES[:1], SIZES[1:2], [(200, 130)]])
def test_an_image_of_another_size_than_at_export_has_right_boxes(made, file, sizes):
    """Elsewhere they were wrong without a message (torchvision 1840)."""
    check(made, file, images_of(sizes))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_batch_may_be_smaller_or_larger_than_at_export(made, file, count):
    """Elsewhere another number of images failed (torchvision 2311, detectron2 4563)."""
    check(made, file, images_of(SIZES[:1] * count))


def test_a_padded_batch_gives_what_the_model_gives_for_it(made, file):
    """Elsewhere it lost a third of the AP (mmdetection 5168)."""
    check(made, file, images_of(SIZES))


def test_each_image_of_a_batch_has_the_results_that_it_has_alone(file):
    """Elsewhere a batch was accepted, and all got those of the first (Co-DETR 26, rf-detr 376)."""
    batch = images_of([(64, 64)] * 3)
    together = [found["instances"] for found in file(batch)]
    assert not torch.equal(together[0].scores[:3], together[1].scores[:3])
    for item, found in zip(batch, together, strict=True):
        alone = file([item])[0]["instances"]
        # The last digits of a product of matrices may depend on the number of rows.
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-3, atol=1e-4)
        difference = compare_results({"instances": alone}, {"instances": found}, 0.0)
        assert not difference.faults(Tolerance(), 64), difference


def test_images_follow_one_without_detections_in_the_same_session(made, file):
    """Elsewhere a session failed at the first one, or after it (torchvision 2251, 2309)."""
    nothing = file([black_image()])[0]["instances"]
    assert len(nothing) == 0
    assert nothing.pred_masks.shape == (0, 64, 64)
    check(made, file, images_of([(64, 64)]))
    # Also first and last in a batch, and nothing but them.
    items = images_of([(64, 64)] * 2)
    found = file([black_image(), *items, black_image()])
    assert [len(one["instances"]) > 10 for one in found] == [False, True, True, False]
    assert [len(one["instances"]) for one in file([black_image()] * 2)] == [0, 0]


def test_outputs_have_the_names_of_what_they_hold(exported_file):
    session = open_session(exported_file)
    assert session.facts["outputs"] == ["boxes", "scores", "classes", "count", "masks"]
    image = images_of([(50, 60)])[0]["image"].numpy()[None]
    found = session(image, np.array([[50, 60]]))
    count = int(found["count"][0])
    assert 10 < count <= 30
    low, high = found["boxes"][0, :count, :2], found["boxes"][0, :count, 2:]
    assert found["boxes"].shape == (1, 30, 4)
    assert (low < high).all()
    assert low.min() >= 0
    assert (high <= [60, 50]).all()
    assert high[:, 0].max() > 50
    scores = found["scores"][0]
    assert (np.diff(scores[:count]) <= 0).all()
    assert 0 < scores[count - 1] <= scores[0] < 1
    assert not scores[count:].any()
    assert found["classes"].dtype == np.int64
    assert set(found["classes"][0]) <= set(range(5))
    assert found["masks"].shape[:2] == (1, 30)
    assert found["masks"].min() >= 0
    assert found["masks"].max() <= 1


class _Troubled(nn.Module):
    """A model in the place of a file that has one of the troubles."""

    def __init__(self, model, trouble):
        super().__init__()
        self.model, self.trouble = model, trouble
        self.has_seen_empty = False

    def forward(self, batch):
        found = self.model(batch)
        if self.trouble == "finds nothing after an image without objects" and self.has_seen_empty:
            found = [{"instances": one["instances"][:0]} for one in found]
        if self.trouble == "gives all images the results of the first":
            sizes = [{key: item[key] for key in ("height", "width")} for item in batch]
            found = self.model([{**batch[0], **size} for size in sizes])
        if self.trouble == "scales by the size at export":
            found = copy.deepcopy(found)
            for one in found:
                one["instances"].pred_boxes.scale(1.2, 1.0)
        if self.trouble == "loses objects in a padded batch" and len(batch) > 1:
            found = [{"instances": one["instances"][::3]} for one in found]
        if self.trouble == "gives other classes":
            for one in found:
                one["instances"].pred_classes = 4 - one["instances"].pred_classes
        if self.trouble == "keeps other boxes of an image of one colour":
            for one, item in zip(found, batch, strict=True):
                if not item["image"].any():
                    one["instances"].pred_boxes.scale(1.03, 1.0)
        self.has_seen_empty |= any(not item["image"].any() for item in batch)
        return found


@pytest.mark.parametrize(
    ("trouble", "images"),
    [
        ("none", []),
        # Where all cells score the same, rounding decides.
        ("keeps other boxes of an image of one colour", []),
        ("finds nothing after an image without objects", ["shapes://val/0 (after an empty image)"]),
        ("gives all images the results of the first", ["shapes://val/1 (in a batch)"]),
        ("scales by the size at export", ["shapes://val/0", "shapes://val/3"]),
        ("loses objects in a padded batch", ["shapes://val/0 (in a batch)"]),
        ("gives other classes", ["shapes://val/0"]),
    ],
)
def test_the_proof_finds_the_trouble_and_names_the_image(made, trouble, images):
    cfg, model, _ = made
    file = _Troubled(model, trouble)
    found = find_images(cfg, "shapes_val", 4)
    proof = prove(cfg, model, file, Tolerance(), images=found, resizes=False)
    assert proof["agrees"] == (not images)
    assert set(images) <= set(proof["disagreements"])
    # What is not compared is not stated as equal.
    assert [row["box"] is None for row in proof["images"]] == [
        row["image"].startswith("an empty image") for row in proof["images"]
    ]
