import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.image_io import read_image
from d2lite.evaluation import (
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluators,
    SemSegEvaluator,
    build_evaluator,
)
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ConfigError


def test_type_of_the_dataset_picks_the_evaluator(dataset):
    assert isinstance(build_evaluator(dataset, tasks=("bbox",)), COCOEvaluator)


def test_shapes_need_no_word_from_the_user():
    assert isinstance(build_evaluator("shapes_val"), COCOEvaluator)


def test_separated_panoptic_data_have_three_evaluators(tmp_path):
    evaluator = build_evaluator("shapes_val_panoptic", output_dir=tmp_path)
    assert isinstance(evaluator, DatasetEvaluators)
    kinds = [type(part) for part in evaluator._evaluators]
    assert kinds == [SemSegEvaluator, COCOEvaluator, COCOPanopticEvaluator]


def test_unknown_type_names_what_there_is(dataset):
    MetadataCatalog.get("odd").evaluator_type = "odd_type"
    try:
        with pytest.raises(
            ConfigError, match=r"'odd_type'; those that can be built .*coco, .*lvis"
        ):
            build_evaluator("odd")
    finally:
        MetadataCatalog.remove("odd")


def test_an_oracle_scores_100_on_shapes_in_every_task():
    """The three evaluators read their truth from addresses of pictures that lie on no disk."""
    records = DatasetCatalog.get("shapes_val_panoptic")
    evaluator = build_evaluator("shapes_val_panoptic", distributed=False)
    for record in records:
        ids = torch.as_tensor(rgb_to_segment_ids(read_image(record["pan_seg_file_name"])))
        classes = torch.as_tensor(read_image(record["sem_seg_file_name"])).long()
        objects = record["annotations"]
        instances = Instances(tuple(ids.shape))
        instances.pred_boxes = Boxes(torch.tensor([obj["bbox"] for obj in objects]))
        instances.pred_classes = torch.tensor([obj["category_id"] for obj in objects])
        instances.scores = torch.ones(len(objects))
        output = {
            "sem_seg": torch.nn.functional.one_hot(classes, 2).permute(2, 0, 1).float(),
            "instances": instances,
            "panoptic_seg": (ids, [dict(s) for s in record["segments_info"]]),
        }
        evaluator.process([record], [output])
    results = evaluator.evaluate()
    assert set(results) == {"sem_seg", "bbox", "panoptic_seg"}
    assert results["sem_seg"]["mIoU"] == 100
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["panoptic_seg"]["PQ"] == 100
