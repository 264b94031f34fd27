import json
import uuid

import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import register_lvis_instances
from d2lite.evaluation import LVISEvaluator, build_evaluator, lvis_evaluation
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ConfigError, MissingFileError

SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]


def lvis_content() -> dict:
    """A rare class in image 1, a frequent one in image 2; ids have gaps on purpose."""
    return {
        "images": [
            {
                "id": number,
                "coco_url": f"http://host/val2017/{number}.jpg",
                "height": 100,
                "width": 100,
                "neg_category_ids": negative,
                "not_exhaustive_category_ids": [],
            }
            for number, negative in ((1, [8]), (2, []))
        ],
        "categories": [
            {"id": i, "name": n, "synonyms": [n, "other"], "frequency": f, "image_count": i * 10}
            for i, n, f in ((8, "eel", "c"), (3, "cat", "r"), (9, "fox", "f"))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": category,
                "bbox": [10, 10, 30, 30],
                "area": 900,
                "segmentation": SQUARE,
            }
            for number, category in ((1, 3), (2, 9))
        ],
    }


@pytest.fixture
def dataset(tmp_path):
    pytest.importorskip("hotcoco")
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(lvis_content()))
    name = f"lvis_{uuid.uuid4().hex}"
    register_lvis_instances(name, {}, path, tmp_path)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def predicted(objects: list[tuple], *, has_masks: bool = False) -> Instances:
    """(xyxy, class number, score) of each object."""
    made = Instances((100, 100))
    made.pred_boxes = Boxes(torch.tensor([b for b, _, _ in objects]).float().reshape(-1, 4))
    made.pred_classes = torch.tensor([c for _, c, _ in objects], dtype=torch.int64)
    made.scores = torch.tensor([s for _, _, s in objects])
    if has_masks:
        made.pred_masks = torch.zeros((len(objects), 100, 100), dtype=torch.bool)
        for mask, ((x0, y0, x1, y1), _, _) in zip(made.pred_masks, objects, strict=True):
            mask[y0:y1, x0:x1] = True
    return made


def run(evaluator, outputs: dict[int, Instances]) -> dict:
    for image_id, instances in outputs.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate()


# The box's IoU with the true one is 2/3: right at 4 of 10 thresholds.
CAT = ((10, 10, 40, 40), 0, 0.9)
FOX = ((10, 10, 40, 30), 2, 0.8)


def test_rare_common_and_frequent_classes_have_their_own_ap(dataset, tmp_path):
    evaluator = LVISEvaluator(dataset, output_dir=tmp_path / "out")
    results = run(
        evaluator, {1: predicted([CAT], has_masks=True), 2: predicted([FOX], has_masks=True)}
    )
    assert set(results) == {"bbox", "segm"}
    for metrics in results.values():
        assert list(metrics) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]
        assert metrics["APr"] == pytest.approx(100)
        assert metrics["APf"] == pytest.approx(40)
        assert metrics["AP"] == pytest.approx(70)
        assert metrics["APc"] != metrics["APc"]  # nan: no eel in the truth
    saved = json.loads((tmp_path / "out/lvis_instances_results.json").read_text())
    assert sorted(d["category_id"] for d in saved) == [3, 9]


def test_a_class_that_was_not_looked_for_costs_nothing(dataset):
    """Nobody looked for a fox in image 1; eels are known to be absent there."""
    stray_fox = ((0, 0, 30, 30), 2, 0.99)
    results = run(LVISEvaluator(dataset), {1: predicted([CAT, stray_fox]), 2: predicted([FOX])})
    assert results["bbox"]["APf"] == pytest.approx(40)


def test_the_limit_of_detections_counts_over_all_classes(dataset):
    eel = ((50, 50, 60, 60), 1, 0.95)
    outputs = {1: predicted([CAT, eel]), 2: predicted([FOX])}
    assert run(LVISEvaluator(dataset, max_dets_per_image=2), outputs)["bbox"][
        "APr"
    ] == pytest.approx(100)
    assert run(LVISEvaluator(dataset, max_dets_per_image=1), outputs)["bbox"]["APr"] == 0


def test_no_prediction_scores_zero(dataset):
    assert run(LVISEvaluator(dataset), {1: predicted([]), 2: predicted([])})["bbox"]["AP"] == 0


def test_the_type_of_the_dataset_picks_it(dataset):
    assert isinstance(build_evaluator(dataset), LVISEvaluator)


def test_without_hotcoco_the_command_is_told(dataset, monkeypatch):
    monkeypatch.setattr(lvis_evaluation, "fast_engine", lambda: None)
    with pytest.raises(ConfigError, match="pip install hotcoco"):
        LVISEvaluator(dataset)


def test_keypoints_are_refused(dataset):
    with pytest.raises(ConfigError, match="tuple of bbox, segm"):
        LVISEvaluator(dataset, tasks=("keypoints",))


def test_a_set_without_annotation_file_is_refused():
    pytest.importorskip("hotcoco")
    with pytest.raises(ConfigError, match="no json_file"):
        LVISEvaluator("shapes_val")


def test_a_missing_file_is_told_at_the_start(monkeypatch, tmp_path):
    pytest.importorskip("hotcoco")
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"lvis_v1_val\.json"):
        LVISEvaluator("lvis_v1_val")


def test_results_can_be_scored_by_themselves(dataset):
    evaluator = LVISEvaluator(dataset)
    results = run(evaluator, {1: predicted([CAT]), 2: predicted([FOX])})
    found = [
        {"image_id": i, "category_id": c, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for i, c, ((x0, y0, x1, y1), _, score) in ((1, 3, CAT), (2, 9, FOX))
    ]
    scored = lvis_evaluation._evaluate_predictions_on_lvis(evaluator._coco_api, found, "bbox")
    assert scored == pytest.approx(results["bbox"], nan_ok=True)
    nothing = lvis_evaluation._evaluate_predictions_on_lvis(evaluator._coco_api, [], "bbox")
    assert nothing == pytest.approx(dict.fromkeys(results["bbox"], float("nan")), nan_ok=True)


@pytest.mark.parametrize("first", ["left", -1])
def test_ids_other_than_numbers_from_0_on_score_the_same(first, tmp_path):
    """Lists of the classes that were looked for follow the ids."""
    pytest.importorskip("hotcoco")
    content = lvis_content()
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = first
    # The fox is known to be absent from the first image, so the stray one counts.
    content["images"][0]["neg_category_ids"] = [9]
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    name = f"lvis_{uuid.uuid4().hex}"
    register_lvis_instances(name, {}, tmp_path / "lvis.json", tmp_path)
    stray_fox = ((0, 0, 30, 30), 2, 0.99)
    metrics = run(LVISEvaluator(name), {first: predicted([CAT, stray_fox]), 2: predicted([FOX])})
    assert metrics["bbox"]["APr"] == pytest.approx(100)
    assert metrics["bbox"]["APf"] == pytest.approx(20)
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
