"""Ids, and the order of everything in the files, have no say in which class an object is."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2lite.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from d2lite.data.classes.class_order import follow_class_order
from d2lite.evaluation import COCOEvaluator
from tests.data import spec_files as make
from tests.data.spec_files import detections

pytestmark = pytest.mark.usefixtures("own_folders")

NAMES = ["ant", "bee", "cat", "owl"]
# Image -> its objects, and what a model sees in it.
TRUTH = {"a.jpg": ["owl", "ant"], "b.jpg": ["bee"], "c.jpg": ["cat", "cat"], "d.jpg": ["ant"]}
SEEN = {"a.jpg": ["owl", "bee"], "b.jpg": ["bee"], "c.jpg": ["owl", "cat"], "d.jpg": ["cat"]}


@st.composite
def shuffled(draw):
    """Ids of the classes, the order of images, and their ids."""
    ids = st.lists(st.integers(0, 50), unique=True, min_size=4, max_size=4)
    return draw(ids), draw(st.permutations(list(TRUTH))), draw(ids), draw(st.permutations(NAMES))


def write_coco(folder, how):
    ids, files, image_ids, names = how
    id_of = dict(zip(names, ids, strict=True))
    content = json.loads(make.coco(folder / "a.json").read_text())
    content["categories"] = [{"id": id_of[name], "name": name} for name in names]
    content["images"] = [
        {"id": number, "file_name": file, "height": 10, "width": 20}
        for number, file in zip(image_ids, files, strict=True)
    ]
    objects = [
        {"image_id": number, "category_id": id_of[label], "bbox": [2, 2, 6, 6]}
        for number, file in zip(image_ids, files, strict=True)
        for label in TRUTH[file]
    ]
    content["annotations"] = [{"id": i, **obj} for i, obj in enumerate(reversed(objects))]
    (folder / "a.json").write_text(json.dumps(content))
    for file in files:
        make.picture(folder / file)
    return f"coco:{folder / 'a.json'}", {number: name for name, number in id_of.items()}


def write_yolo(folder, how):
    _, files, _, names = how
    lines = {
        f"val_{Path(file).stem}": "".join(
            f"{names.index(label)} 0.25 0.5 0.3 0.6\n" for label in TRUTH[file]
        )
        for file in files
    }
    path = make.yolo(folder, json.dumps(names), **lines)
    return f"yolo:{path}@val", None


def judge(name, model_classes, said, output, engine):
    """Scores of a model that says these class names of the images."""
    follow_class_order(name, model_classes)
    evaluator = COCOEvaluator(name, output_dir=output, use_fast_impl=engine == "fast")
    for record in DatasetCatalog.get(name):
        file = Path(record["file_name"]).name
        classes = [model_classes.index(label) for label in said[file]]
        evaluator.process(*detections(record["image_id"], classes))
    return evaluator.evaluate()["bbox"]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shuffled(),
    shuffled(),
    st.sampled_from([write_coco, write_yolo]),
    st.sampled_from(["fast", "pycocotools"]),
)
def test_no_prediction_changes_its_class(tmp_path_factory, first, second, write, engine):
    """The training set gives the model its numbers; test sets of any other numbers follow."""
    folder = tmp_path_factory.mktemp("sets")
    train, _ = write_coco(folder / "train", first)
    records = get_detection_dataset_dicts(train)
    model_classes = list(MetadataCatalog.get(train).thing_classes)
    learnt = {
        Path(r["file_name"]).name: sorted(model_classes[o["category_id"]] for o in r["annotations"])
        for r in records
    }
    assert learnt == {file: sorted(labels) for file, labels in TRUTH.items()}
    test, name_of = write(folder / "test", second)
    perfect = judge(test, model_classes, TRUTH, folder / "out", engine)
    assert [perfect[f"AP-{name}"] for name in NAMES] == [pytest.approx(100)] * 4
    found = judge(test, model_classes, SEEN, folder / "out", engine)
    # One ant became a bee and one a cat; how much the others lose follows from the order of ties.
    assert found["AP-ant"] == 0
    assert all(0 < found[f"AP-{name}"] <= 100 for name in NAMES[1:])
    if name_of is None:
        return
    results = json.loads((folder / "out/coco_instances_results.json").read_text())
    file_of = {r["image_id"]: Path(r["file_name"]).name for r in DatasetCatalog.get(test)}
    said = {file: [] for file in SEEN}
    for row in results:
        said[file_of[row["image_id"]]].append(name_of[row["category_id"]])
    assert said == SEEN
