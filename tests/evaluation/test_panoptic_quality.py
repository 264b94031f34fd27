"""Panoptic quality against its definition, worked out by hand."""

import numpy as np
import pytest

from d2lite.evaluation.panoptic_quality import SegmentCounts, match_segments
from d2lite.utils.errors import DataError

CAT, SKY = 5, 9


def segments(**category_of: int) -> list[dict]:
    return [{"id": int(name[1:]), "category_id": c} for name, c in category_of.items()]


def strips(*widths: int) -> np.ndarray:
    """A map of 10 rows whose columns belong to segments 0, 1, 2, ... in turn."""
    return np.repeat(np.arange(len(widths)), widths)[None].repeat(10, axis=0)


def test_a_perfect_map_scores_100():
    truth = strips(0, 4, 6)
    counts = match_segments(truth, segments(s1=CAT, s2=SKY), truth, segments(s1=CAT, s2=SKY))
    quality = counts.quality([CAT, SKY])
    assert (quality.pq, quality.sq, quality.rq, quality.num_categories) == (100, 100, 100, 2)


def test_overlap_and_misses_by_hand():
    """SKY: 6 of 8 columns overlap, IoU 6/8. CAT: 2 of 4, IoU 2/4, which is not above one half."""
    counts = match_segments(
        strips(0, 4, 6), segments(s1=CAT, s2=SKY), strips(0, 2, 8), segments(s1=CAT, s2=SKY)
    )
    assert counts == SegmentCounts(iou={SKY: 0.75}, hits={SKY: 1}, missed={CAT: 1}, wrong={CAT: 1})
    assert counts.quality_of(SKY).pq == pytest.approx(75)
    assert counts.quality_of(CAT).rq == 0
    assert counts.quality([CAT, SKY]).pq == pytest.approx(37.5)


def test_right_place_of_the_wrong_class_is_a_miss_and_a_wrong_one():
    truth = strips(0, 10)
    counts = match_segments(truth, segments(s1=CAT), truth, segments(s1=SKY))
    assert (counts.missed, counts.wrong, counts.hits) == ({CAT: 1}, {SKY: 1}, {})


def test_void_of_the_truth_does_not_count_in_the_overlap():
    """4 columns are void: IoU is 6/6, though the prediction covers 10."""
    truth = np.where(strips(4, 6) == 1, 1, 0)
    counts = match_segments(truth, segments(s1=SKY), strips(0, 10), segments(s1=SKY))
    assert counts.iou == {SKY: 1.0}


@pytest.mark.parametrize(("void", "wrong"), [(6, {}), (5, {CAT: 1})])
def test_a_segment_mostly_on_void_is_forgiven(void, wrong):
    truth = strips(void, 10 - void)
    counts = match_segments(truth, segments(s1=SKY), strips(0, 10), segments(s1=CAT))
    assert counts.wrong == wrong


@pytest.mark.parametrize(("category", "wrong"), [(CAT, {}), (SKY, {SKY: 1})])
def test_a_segment_on_a_crowd_of_its_class_is_forgiven(category, wrong):
    truth = strips(0, 10)
    crowd = [{"id": 1, "category_id": CAT, "iscrowd": 1}]
    counts = match_segments(truth, crowd, strips(2, 8), [{"id": 1, "category_id": category}])
    assert counts == SegmentCounts(wrong=wrong)


def test_classes_that_do_not_occur_are_left_out_of_the_mean():
    counts = SegmentCounts(iou={CAT: 0.8}, hits={CAT: 1})
    assert counts.quality([CAT, SKY]).pq == pytest.approx(80)
    assert np.isnan(counts.quality([SKY]).pq)


def test_counts_of_images_add_up():
    total = SegmentCounts()
    total.add(SegmentCounts(iou={CAT: 0.6}, hits={CAT: 1}))
    total.add(SegmentCounts(iou={CAT: 0.8}, hits={CAT: 1}, wrong={CAT: 2}))
    assert total.quality_of(CAT).pq == pytest.approx(100 * 1.4 / 3)
    assert total.quality_of(CAT).sq == pytest.approx(70)


def test_large_segment_numbers_stay_apart():
    """Colours of COCO's PNGs give numbers up to 256 ** 3."""
    truth = strips(0, 4, 6) + 256**3 - 3
    info = [{"id": 256**3 - 2, "category_id": CAT}, {"id": 256**3 - 1, "category_id": SKY}]
    assert match_segments(truth, info, truth, info).hits == {CAT: 1, SKY: 1}


def test_map_and_list_must_agree():
    truth = strips(0, 10)
    with pytest.raises(DataError, match=r"only in the map \[1\], only in the list \[2\]"):
        match_segments(truth, segments(s1=SKY), truth, segments(s2=SKY))


def test_another_size_is_refused():
    with pytest.raises(DataError, match=r"\(10, 9\).*true one \(10, 10\)"):
        match_segments(strips(0, 10), [], strips(9), [])
