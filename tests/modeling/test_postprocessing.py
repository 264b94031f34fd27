"""Results in the size that was asked for."""

import pytest
import torch

from d2lite.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ArgumentError


def detections():
    found = Instances((50, 100))
    found.pred_boxes = Boxes([[10.0, 5.0, 30.0, 25.0], [90.0, 40.0, 120.0, 60.0], [5, 5, 5, 9]])
    found.scores = torch.tensor([0.9, 0.8, 0.7])
    found.pred_classes = torch.tensor([1, 0, 2])
    return found


def test_boxes_are_scaled_clipped_and_dropped_when_empty():
    out = detector_postprocess(detections(), 100, 300)
    assert out.image_size == (100, 300)
    assert out.pred_boxes.tensor.tolist() == [[30, 10, 90, 50], [270, 80, 300, 100]]
    assert out.pred_classes.tolist() == [1, 0]


def test_the_argument_is_left_alone():
    found = detections()
    found.pred_keypoints = torch.ones(3, 2, 3)
    detector_postprocess(found, 100, 300)
    assert found.pred_boxes.tensor[0].tolist() == [10, 5, 30, 25]
    assert found.pred_keypoints.unique().tolist() == [1]


def test_proposals_are_scaled_too():
    found = Instances((10, 10), proposal_boxes=Boxes([[1.0, 2.0, 3.0, 4.0]]))
    out = detector_postprocess(found, 20, 20)
    assert out.proposal_boxes.tensor.tolist() == [[2, 4, 6, 8]]


def test_detections_without_boxes_are_refused():
    with pytest.raises(ArgumentError, match=r"pred_boxes or proposal_boxes; found \['scores'\]"):
        detector_postprocess(Instances((10, 10), scores=torch.ones(1)), 20, 30)


def test_masks_are_pasted_and_keypoints_scaled():
    found = detections()
    found.pred_masks = torch.zeros(3, 1, 4, 4)
    found.pred_masks[0] = 1.0
    found.pred_keypoints = torch.tensor([10.0, 20.0, 0.5]).expand(3, 1, 3).clone()
    out = detector_postprocess(found, 100, 200)
    assert out.pred_masks.shape == (2, 100, 200)
    assert out.pred_masks.dtype == torch.bool
    assert out.pred_masks[1].sum() == 0
    # The rim of a pasted mask is blurred by half a cell, which rounds its corners.
    assert out.pred_masks[0, 12:48, 22:58].all()
    assert out.pred_masks[0].sum() == out.pred_masks[0, 10:50, 20:60].sum()
    assert out.pred_keypoints[0, 0].tolist() == [20.0, 40.0, 0.5]


def test_no_detections_give_empty_masks_of_the_size():
    found = detections()[:0]
    found.pred_masks = torch.zeros(0, 1, 28, 28)
    found.pred_keypoints = torch.zeros(0, 17, 3)
    out = detector_postprocess(found, 20, 30)
    assert out.pred_masks.shape == (0, 20, 30)
    assert len(out) == 0


def test_class_scores_lose_their_padding_before_they_are_resized():
    scores = torch.full((2, 8, 8), 5.0)
    scores[:, :4, :6] = 1.0
    out = sem_seg_postprocess(scores, (4, 6), 12, 9)
    assert out.shape == (2, 12, 9)
    torch.testing.assert_close(out, torch.ones_like(out))


@pytest.mark.parametrize("size", [(7, 13), (50, 100)])
def test_rounding_the_output_size_keeps_boxes_inside(size):
    out = detector_postprocess(detections(), *size)
    assert out.pred_boxes.tensor.min() >= 0
    assert (out.pred_boxes.tensor[:, 2:] <= torch.tensor([size[1], size[0]])).all()
