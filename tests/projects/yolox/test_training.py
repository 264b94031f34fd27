"""What only training shows: the last part of the schedule, and the published augmentation."""

from ..runs import check_resume, train
from .small import TINY


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """The last two of four iterations compare boxes by L1 too."""
    check_resume("yolox_quick_start.yaml", [*TINY, "MODEL.YOLOX.L1_LAST_PART", "0.5"], tmp_path)


def test_the_published_augmentation_trains(tmp_path):
    augmentations = (
        "['Mosaic(size=(64, 64), scale=(0.1, 2.0))', 'RandomFlip', 'MixUp(prob=1.0)', "
        "\"ResizeShortestEdge((32, 64, 96), 96, 'choice')\"]"
    )
    options = [*TINY, "INPUT.AUGMENTATIONS", augmentations, "INPUT.SIZE_BY_BATCH", "True"]
    weights = train("yolox_quick_start.yaml", options, tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())
