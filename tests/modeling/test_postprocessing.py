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
