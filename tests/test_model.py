"""d2lite.Model: three lines from training to prediction."""

import subprocess
import sys

import pytest
from PIL import Image

import d2lite
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.engine.resuming import facts_of_weights
from d2lite.utils.errors import InputTypeError, StateError, UserError
from tests.data.spec_files import coco
from tests.predicting.conftest import checkpoint, tiny_cfg  # noqa: F401

SHORT = {
    "SOLVER.MAX_ITER": 2,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.STEPS": (),
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.BASE_LR": 0.001,
    "INPUT.MIN_SIZE_TRAIN": (64,),
    "DATALOADER.NUM_WORKERS": 0,
    "MODEL.DEVICE": "cpu",
    # Few boxes of random weights, not hundreds.
    "TEST.DETECTIONS_PER_IMAGE": 3,
}


def test_importing_d2lite_does_not_import_torch():
    code = "import sys, d2lite; print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        d2lite.Modell  # noqa: B018


def test_train_evaluate_and_predict(tmp_path):
    model = d2lite.Model(tiny_cfg())
    with pytest.raises(StateError, match=r"call train\(\)"):
        model.predict("shapes://val/1")
    options = {**SHORT, "OUTPUT_DIR": str(tmp_path)}
    results = model.train("shapes_train", test="shapes_val", options=options)
    assert "AP" in results["bbox"]
    assert model.trainer.max_iter == 2
    assert str(tmp_path / "model_final.pth") == model.cfg.MODEL.WEIGHTS
    again = model.evaluate()
    assert again["segm"]["AP"] == pytest.approx(results["segm"]["AP"], nan_ok=True)
    result = model.predict("shapes://val/1")
    assert result.class_names == ["circle", "square", "triangle", "star", "heart"]
    facts = facts_of_weights(str(tmp_path / "model_final.pth"))
    assert facts["class_names"] == result.class_names
    names = MetadataCatalog.get("shapes_train").keypoint_names
    assert facts["metadata"]["keypoint_names"] == list(names)
    # The run's folder and its checkpoint are models too.
    for source in (tmp_path, tmp_path / "model_final.pth"):
        other = d2lite.Model(source)
        assert other.cfg.MODEL.WEIGHTS == model.cfg.MODEL.WEIGHTS
        assert len(other.predict(["shapes://val/1", "shapes://val/2"])) == 2


@pytest.fixture
def stars_and_hearts():
    """A registered set of two of the five classes."""
    records = []
    for record in DatasetCatalog.get("shapes_train")[:20]:
        objects = [
            {**obj, "category_id": obj["category_id"] - 3}
            for obj in record["annotations"]
            if obj["category_id"] >= 3
        ]
        records.append({**record, "annotations": objects})
    DatasetCatalog.register("stars_and_hearts", lambda: records)
    MetadataCatalog.get("stars_and_hearts").set(thing_classes=["star", "heart"])
    yield "stars_and_hearts"
    DatasetCatalog.remove("stars_and_hearts")
    MetadataCatalog.remove("stars_and_hearts")


def test_trained_model_takes_data_of_other_classes(tmp_path, checkpoint, stars_and_hearts):  # noqa: F811
    """The heads follow the data; what fits of the weights is kept."""
    model = d2lite.Model(checkpoint)
    options = {**SHORT, "OUTPUT_DIR": str(tmp_path)}
    assert model.train(stars_and_hearts, options=options) is None
    assert model.cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert model.predict("shapes://val/1").class_names == ["star", "heart"]


def test_a_folder_is_split_as_on_the_command_line(tmp_path, monkeypatch):
    coco(tmp_path / "labels.json")
    monkeypatch.setattr("d2lite.model.DefaultTrainer", None)
    model = d2lite.Model("quick_start")
    with pytest.raises(TypeError):
        model.train(str(tmp_path))
    sets = model.cfg.DATASETS
    assert [*sets.TRAIN, *sets.TEST] == [
        f"auto:{tmp_path}@{part}?val_fraction=0.2" for part in ("train", "val")
    ]


def test_names_of_carried_configs_are_models_to_train():
    model = d2lite.Model("quick_start", options={"SOLVER.MAX_ITER": 5})
    assert model.cfg.SOLVER.MAX_ITER == 5
    assert repr(model) == "Model(GeneralizedRCNN, weights '')"
    assert "f10217" in d2lite.Model("mask_rcnn_R_50_FPN_3x").cfg.MODEL.WEIGHTS
    with pytest.raises(UserError, match="no such run folder, checkpoint or published model"):
        d2lite.Model("nothing_of_this_name")


def test_folder_or_data_yaml_brings_its_validation_split(tmp_path, monkeypatch):
    """As d2lite train does it; elsewhere model.train(data="data.yaml") is the whole training."""
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(tmp_path / "images" / split / "1.png")
        (tmp_path / "labels" / split / "1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    data = tmp_path / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    seen = []

    def stop(cfg):
        seen.append((cfg.DATASETS.TRAIN, cfg.DATASETS.TEST))
        raise StateError("enough")

    monkeypatch.setattr("d2lite.model.DefaultTrainer", stop)
    monkeypatch.setattr("d2lite.model.evaluate_checkpoint", stop)
    model = d2lite.Model(tiny_cfg())
    model.cfg.MODEL.WEIGHTS = "some.pth"
    calls = [
        lambda: model.train(str(data)),
        lambda: model.train(str(data), test="shapes_val"),
        lambda: model.evaluate(str(data)),
    ]
    for call in calls:
        with pytest.raises(StateError, match="enough"):
            call()
    train, test = (f"auto:{data.as_posix()}@train",), (f"auto:{data.as_posix()}@val",)
    assert seen == [(train, test), (train, ("shapes_val",)), (train, test)]
    with pytest.raises(UserError, match="there is no such folder, file or dataset"):
        model.train("nowhere/data.yaml")


def test_threshold_of_a_prediction_may_be_below_that_of_the_model(checkpoint):  # noqa: F811
    model = d2lite.Model(checkpoint)
    low = model.predict("shapes://val/1", threshold=0.0)
    middle = float(low.scores.mean())
    assert len(low) > len(model.predict("shapes://val/1", threshold=middle))
    assert [len(r) for r in model.stream(["shapes://val/1"], threshold=0.0)] == [len(low)]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (
            lambda m: m.train("x", epochs=3),
            r"epochs of other libraries is SOLVER.MAX_EPOCHS here, ",
        ),
        (lambda m: m.train("x", imgsz=640), r"INPUT.MIN_SIZE_TRAIN.* options=\{KEY: value\} sets"),
        (lambda m: m.evaluate(batch=4), r"Model.evaluate\(\) .* is SOLVER.IMS_PER_BATCH"),
        (
            lambda m: m.train(data="x", epochs=3, batch=2),
            r"no argument epochs and no batch; .*SOLVER.MAX_EPOCHS here.*SOLVER.IMS_PER_BATCH",
        ),
        (lambda m: m.predict(source="a.jpg"), r"source of other libraries is the first argument"),
        (lambda m: m.predict("a.jpg", conf=0.3), r"conf of other libraries is threshold here"),
        (lambda m: m.stream("a.jpg", nothing=1), "it has threshold, tiles, overlap, on_error.$"),
        (lambda m: m.export("out", format="onnx"), r"format of other libraries is to here"),
        (lambda m: m.export(format="onnx"), r"format of other libraries is to here"),
    ],
)
def test_argument_of_another_library_is_answered_with_its_name_here(call, why):
    model = d2lite.Model("quick_start")
    with pytest.raises(InputTypeError, match=why) as caught:
        call(model)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda m: m.train(5), r"Model.train\(\): data is 5 \(int\), expected a text or a path or"),
        (lambda m: m.train("x", test={"x"}), r"test is \{'x'\} \(set\), expected"),
        (lambda m: m.evaluate(options=["SEED", 3]), r"options is .* expected a dict or None"),
        (lambda m: m.predict("a.jpg", threshold=[0.3]), "threshold is .* a number or a dict or"),
        (lambda m: m.stream(0.5), "images is 0.5 .* expected a list or a text"),
        (
            lambda m: m.export(5),
            r"export_model\(\): output is 5 \(int\), expected a text or a path",
        ),
        (lambda m: d2lite.Model(m.cfg, device=0), r"Model\(\): device is 0 .*a text or None"),
    ],
)
def test_argument_of_another_type_is_answered_with_what_is_expected(call, why):
    model = d2lite.Model("quick_start", options={"MODEL.WEIGHTS": "some.pth"})
    with pytest.raises(InputTypeError, match=why):
        call(model)


def test_paths_are_taken_where_their_texts_are(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("d2lite.model.evaluate_checkpoint", seen.append)
    model = d2lite.Model("quick_start", options={"MODEL.WEIGHTS": "some.pth"})
    coco(tmp_path / "labels.json")
    model.evaluate(tmp_path)
    model.evaluate(str(tmp_path))
    assert seen[0] == seen[1]
