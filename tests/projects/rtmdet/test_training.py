"""A whole run on the built-in shapes, and the published augmentation."""

import pytest

from ..runs import check_drawing, train, train_and_go_on
from .small import TINY


@pytest.mark.slow  # tests/support does this with every model
def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "rtmdet_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    weights = train_and_go_on(run, options, tmp_path, "segm/AP50")
    assert len(weights["head.rtm_cls.0.bias"]) == 5
    assert {"category_name", "segmentation", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_the_published_augmentation_trains_with_masks(tmp_path):
    augmentations = "['Mosaic(size=(64, 64), scale=(0.5, 2.0))', 'RandomFlip', 'MixUp(prob=0.5)']"
    options = [*TINY, "INPUT.AUGMENTATIONS", augmentations]
    weights = train("rtmdet_quick_start.yaml", options, tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())
