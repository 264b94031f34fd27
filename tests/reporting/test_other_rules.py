"""Analyses of sets that are evaluated by the rules of LVIS and Pascal VOC."""

import json

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import register_lvis_instances, register_pascal_voc
from d2lite.evaluation import build_evaluator
from d2lite.evaluation.coco_scoring import CocoScores
from d2lite.evaluation.lvis_evaluation import _score_lvis
from d2lite.reporting import RunFacts, analyze, evaluated_set
from d2lite.reporting.evaluated_set import EvaluatedSet, load_evaluated_set

from ..evaluation.test_pascal_voc_evaluation import OBJECT, PERFECT, TRUTH, _predictions

NUM_CLASSES = 5


def rectangle(box):
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def lvis_set(seed: int) -> tuple[dict, list[dict]]:
    """Images whose classes are present, absent, not looked for, or labelled in part."""
    rng = np.random.RandomState(seed)
    images, annotations, results = [], [], []
    for image in range(1, 13):
        kinds = rng.randint(0, 4, NUM_CLASSES)
        present = [k + 1 for k in range(NUM_CLASSES) if kinds[k] in (0, 3)]
        images.append(
            {
                "id": image,
                "height": 100,
                "width": 100,
                "coco_url": f"http://host/val2017/{image}.jpg",
                "neg_category_ids": [k + 1 for k in range(NUM_CLASSES) if kinds[k] == 1],
                "not_exhaustive_category_ids": [k + 1 for k in range(NUM_CLASSES) if kinds[k] == 3],
            }
        )
        for category in present:
            for _ in range(rng.randint(1, 4)):
                box = [*rng.randint(0, 50, 2).tolist(), *rng.randint(10, 50, 2).tolist()]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": category,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "segmentation": rectangle(box),
                    }
                )
                moved = [*(np.array(box[:2]) + rng.randint(-4, 5, 2)).tolist(), *box[2:]]
                score = float(rng.rand())
                results.append(
                    {"image_id": image, "category_id": category, "bbox": moved, "score": score}
                )
        for _ in range(6):
            box = [*rng.randint(0, 50, 2).tolist(), *rng.randint(10, 50, 2).tolist()]
            results.append(
                {
                    "image_id": image,
                    "category_id": int(rng.randint(1, NUM_CLASSES + 1)),
                    "bbox": box,
                    "score": float(rng.rand()),
                }
            )
    categories = [
        {"id": k, "name": f"c{k}", "synonyms": [f"c{k}"], "frequency": "f", "image_count": 9}
        for k in range(1, NUM_CLASSES + 1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, results


@pytest.mark.parametrize("seed", range(4))
def test_ap_of_an_lvis_set_is_that_of_its_evaluation(seed):
    pytest.importorskip("hotcoco")
    truth, results = lvis_set(seed)
    ours = analyze(truth, results, "bbox", num_resamples=0)
    theirs = CocoScores.of(_score_lvis(truth, results, "bbox", 300)).metrics("bbox")
    assert ours.metrics == pytest.approx(theirs, nan_ok=True)
    assert 0 < theirs["AP"] < 100


def test_detections_of_classes_that_were_not_looked_for_are_no_errors():
    """Class 1 has an object, 2 is absent, 3 was not looked for, 4 is labelled in part."""
    image = {"id": 1, "height": 9, "width": 9, "neg_category_ids": [2]}
    image["not_exhaustive_category_ids"] = [4]
    boxes = {1: [0, 0, 4, 4], 4: [5, 5, 4, 4]}
    truth = {
        "images": [image],
        "categories": [{"id": k, "name": str(k)} for k in (1, 2, 3, 4)],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": k, "bbox": box, "area": 16}
            for k, box in boxes.items()
        ],
    }
    elsewhere = [0, 5, 3, 3]
    results = [
        {"image_id": 1, "category_id": k, "bbox": box, "score": 0.9}
        for k, box in [*boxes.items(), *((k, elsewhere) for k in (1, 2, 3, 4))]
    ]
    found = analyze(truth, results, "bbox", num_resamples=0)
    assert sum(found.matches.is_right(0.5)) == 2
    wrong = found.matches.dt_class[found.matches.is_wrong(0.5)] + 1
    assert sorted(wrong) == [1, 2]
    assert sum(found.errors.counts.values()) == 2


def write_results(folder, name: str, results: list) -> None:
    (folder / "inference").mkdir(parents=True)
    (folder / "inference" / name).write_text(json.dumps(results))


def test_a_run_on_an_lvis_set_has_an_analysis_unless_it_is_too_large(tmp_path, monkeypatch):
    truth, results = lvis_set(0)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    register_lvis_instances("lvis_of_report", {}, tmp_path / "truth.json", tmp_path)
    try:
        run = tmp_path / "run"
        write_results(run, "lvis_instances_results.json", results)
        found = load_evaluated_set(run, RunFacts(test_sets=["lvis_of_report"]))
        monkeypatch.setattr(evaluated_set, "_MOST_PAIRS", 10)
        refused = load_evaluated_set(run, RunFacts(test_sets=["lvis_of_report"]))
    finally:
        DatasetCatalog.remove("lvis_of_report")
        MetadataCatalog.remove("lvis_of_report")
    assert isinstance(found, EvaluatedSet)
    expected = analyze(truth, results, "bbox", num_resamples=0)
    assert found.analyses[0].metrics == pytest.approx(expected.metrics, nan_ok=True)
    assert found.note == ""
    assert "12 images and 5 classes" in refused


def test_a_run_on_a_voc_set_has_an_analysis_in_which_difficult_objects_do_not_count(tmp_path):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("\n".join(TRUTH))
    for name, objects in TRUTH.items():
        text = "".join(OBJECT.format(*o) for o in objects)
        (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{text}</annotation>")
        Image.new("RGB", (100, 100)).save(tmp_path / f"JPEGImages/{name}.jpg")
    register_pascal_voc("voc_of_report", str(tmp_path), "val", 2012, ["cat", "dog"])
    try:
        run = tmp_path / "run"
        evaluator = build_evaluator("voc_of_report", output_dir=run / "inference")
        rows = [*PERFECT, ("two", 0, 0.95, [49, 49, 90, 90])]
        for name, instances in _predictions(rows).items():
            evaluator.process([{"image_id": name}], [{"instances": instances}])
        assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
        found = load_evaluated_set(run, RunFacts(test_sets=["voc_of_report"]))
    finally:
        DatasetCatalog.remove("voc_of_report")
        MetadataCatalog.remove("voc_of_report")
    assert isinstance(found, EvaluatedSet)
    (analysis,) = found.analyses
    assert analysis.metrics["AP"] == pytest.approx(100)
    assert sum(analysis.matches.num_objects()) == 3
    assert sum(analysis.matches.is_right(0.5)) == 3
    assert not analysis.matches.is_wrong(0.5).any()
    assert "Pascal VOC" in found.note
