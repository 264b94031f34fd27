import uuid

import numpy as np
import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.evaluation import COCOEvaluator, RotatedCOCOEvaluator
from d2lite.evaluation.rotated_coco_evaluation import RotatedCOCOeval
from d2lite.structures import Boxes, BoxMode, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError, DataError

TRUE_BOXES = {1: [[50.0, 50.0, 40.0, 10.0, 30.0]], 2: [[30.0, 60.0, 20.0, 30.0, -70.0]]}


def register(boxes_of: dict[int, list[list[float]]], mode: BoxMode) -> str:
    name = f"rotated_{uuid.uuid4().hex}"
    records = [
        {
            "file_name": f"{image_id}.jpg",
            "image_id": image_id,
            "height": 100,
            "width": 120,
            "annotations": [{"bbox": b, "bbox_mode": mode, "category_id": 0} for b in boxes],
        }
        for image_id, boxes in boxes_of.items()
    ]
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(thing_classes=["ship"], evaluator_type="coco")
    return name


@pytest.fixture
def dataset():
    name = register(TRUE_BOXES, BoxMode.XYWHA_ABS)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def predicted(boxes) -> Instances:
    made = Instances((100, 120))
    made.pred_boxes = boxes
    made.scores = torch.full((len(boxes),), 0.9)
    made.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return made


def score(name: str, boxes_of: dict) -> dict:
    evaluator = RotatedCOCOEvaluator(name)
    for image_id, boxes in boxes_of.items():
        evaluator.process([{"image_id": image_id}], [{"instances": predicted(boxes)}])
    return evaluator.evaluate()["bbox"]


def test_the_true_boxes_score_100(dataset):
    found = {i: RotatedBoxes(torch.tensor(b)) for i, b in TRUE_BOXES.items()}
    metrics = score(dataset, found)
    assert metrics["AP"] == pytest.approx(100)
    assert list(metrics)[:6] == ["AP", "AP50", "AP75", "APs", "APm", "APl"]


def test_a_wrong_angle_costs(dataset):
    """A box of 40 x 10 turned away by a right angle overlaps itself by 100 of 700."""
    turned = {
        i: RotatedBoxes(torch.tensor(b) + torch.tensor([0, 0, 0, 0, 90.0]))
        for i, b in TRUE_BOXES.items()
    }
    metrics = score(dataset, turned)
    assert metrics["AP75"] == 0


def test_no_prediction_scores_zero(dataset):
    assert score(dataset, {1: RotatedBoxes(torch.zeros(0, 5))})["AP"] == 0


def test_upright_predictions_meet_rotated_truth():
    name = register({1: [[50.0, 50.0, 40.0, 10.0, 0.0]]}, BoxMode.XYWHA_ABS)
    metrics = score(name, {1: Boxes(torch.tensor([[30.0, 45.0, 70.0, 55.0]]))})
    assert metrics["AP"] == pytest.approx(100)


def test_upright_boxes_score_as_in_the_plain_evaluation():
    rng = np.random.RandomState(0)
    corners = rng.uniform(0, 50, (8, 2))
    truth = np.concatenate([corners, rng.uniform(10, 40, (8, 2))], axis=1)
    name = register({1: truth.tolist()}, BoxMode.XYWH_ABS)
    noisy = torch.tensor(truth + rng.uniform(-4, 4, (8, 4)), dtype=torch.float32)
    noisy[:, 2:] += noisy[:, :2]
    plain = COCOEvaluator(name)
    plain.process([{"image_id": 1}], [{"instances": predicted(Boxes(noisy))}])
    assert score(name, {1: Boxes(noisy)}) == pytest.approx(plain.evaluate()["bbox"], nan_ok=True)


def test_masks_are_refused(dataset):
    with pytest.raises(ConfigError, match=r"no task \['segm'\]; tasks are a tuple of bbox"):
        RotatedCOCOEvaluator(dataset, tasks=("segm",))


def test_boxes_of_both_kinds_become_rotated_ones():
    mixed = [[10.0, 20.0, 4.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    boxes = RotatedCOCOeval.boxlist_to_tensor(mixed, 5)
    assert boxes.tolist() == [[12, 23, 4, 6, 0], [1, 2, 3, 4, 5]]
    assert not RotatedCOCOeval.is_rotated(mixed)
    assert RotatedCOCOeval.is_rotated(mixed[1:])
    assert RotatedCOCOeval.boxlist_to_tensor([], 5).shape == (0, 5)


def test_a_rotated_box_does_not_fit_into_four_numbers():
    with pytest.raises(DataError, match=r"\[5\] numbers; as boxes of 4"):
        RotatedCOCOeval.boxlist_to_tensor([[1, 2, 3, 4, 5]], 4)


def test_a_crowd_holds_what_lies_in_it():
    """A detection of a tenth of the crowd's size lies wholly in it."""
    evaluation = RotatedCOCOeval(iouType="bbox")
    crowd, inside = [[50, 50, 40, 20, 15]], [[50, 50, 8, 10, 15]]
    assert evaluation.compute_iou_dt_gt(inside, crowd, [0])[0, 0] == pytest.approx(0.1)
    assert evaluation.compute_iou_dt_gt(inside, crowd, [1])[0, 0] == pytest.approx(1)
