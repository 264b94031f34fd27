import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.reading import read_checkpoint
from d2lite.checkpoint.writing import write_weights
from d2lite.config import get_cfg
from d2lite.engine import DefaultPredictor
from d2lite.predicting import Predictor, Result, outputs
from d2lite.predicting.model_source import model_config
from d2lite.predicting.predictor import _lower_score_threshold
from d2lite.predicting.thresholds import read_thresholds
from d2lite.projects.solov2 import add_solov2_config
from d2lite.utils.errors import (
    ArgumentError,
    ConfigError,
    DataError,
    MissingFileError,
    UserError,
    WeightsError,
)

from .conftest import CLASSES, tiny_cfg


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return Predictor(checkpoint, threshold=0)


def assert_equal(one: Result, other: Result) -> None:
    assert len(one) == len(other) > 0
    np.testing.assert_allclose(one.boxes, other.boxes, atol=2e-3)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_array_equal(one.masks, other.masks)


def test_one_file_is_the_model(checkpoint, photos):
    """Without a config, class names or a device: nothing else is in its folder."""
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    found = Predictor(str(checkpoint), threshold=0)
    assert found.class_names == CLASSES
    result = found(photos / "0.png")
    assert len(result) == 7
    assert set(result.names) <= set(CLASSES)


def test_result_is_that_of_default_predictor(predictor, checkpoint, photos):
    """Numbers of detectron2's contract, in plain arrays and sorted."""
    cfg = model_config(checkpoint)
    cfg.MODEL.DEVICE = "cpu"
    instances = DefaultPredictor(cfg)(cv2.imread(str(photos / "1.png")))["instances"]
    result = predictor(photos / "1.png")
    order = instances.scores.argsort(descending=True, stable=True)
    np.testing.assert_array_equal(result.boxes, instances.pred_boxes.tensor[order].numpy())
    np.testing.assert_array_equal(result.scores, instances.scores[order].numpy())
    np.testing.assert_array_equal(result.classes, instances.pred_classes[order].numpy())
    np.testing.assert_array_equal(result.masks, instances.pred_masks[order].numpy())
    assert result.masks.any()
    assert result.size == instances.image_size


def test_masks_that_are_pasted_in_parts_are_the_same(predictor, photos, monkeypatch):
    """As in an image of 10,000 pixels, where all of them would not fit into the memory."""
    whole = predictor(photos / "1.png")
    monkeypatch.setattr(outputs, "_MASK_BYTES", 1)
    assert_equal(predictor(photos / "1.png"), whole)


def test_list_gives_what_single_images_give_in_their_order(predictor, photos):
    names = [photos / f"{number}.png" for number in (0, 3, 1, 0, 2)]
    results = predictor(names)
    assert [result.path for result in results] == [str(name) for name in names]
    for name, result in zip(names, results, strict=True):
        assert_equal(result, predictor(name))


def test_images_of_one_size_share_a_step_of_the_model(predictor, photos, monkeypatch):
    sizes = []
    run = outputs.run_model
    monkeypatch.setattr(
        "d2lite.predicting.predictor.run_model",
        lambda model, batch: sizes.append(len(batch)) or run(model, batch),
    )
    predictor([photos / f"{number}.png" for number in (0, 3, 0, 1, 2)])
    assert sizes == [3, 1, 1]


def test_stream_takes_images_as_it_needs_them(predictor, photos):
    """A folder of 100,000 photographs is never in the memory."""
    taken = []

    def images():
        for number in range(100):
            taken.append(number)
            yield photos / "0.png"

    stream = predictor.stream(images())
    next(stream)
    assert len(taken) <= 2 * predictor.batch_size + 1


def test_unreadable_images_of_a_stream_are_reported_and_left_out(predictor, photos):
    failed = []
    names = [photos / "0.png", photos / "notes.txt", photos / "gone.png", photos / "1.png"]
    results = predictor.stream(names, on_error=lambda name, error: failed.append(name.name))
    assert [result.path[-5:] for result in results] == ["0.png", "1.png"]
    assert failed == ["notes.txt", "gone.png"]
    with pytest.raises(DataError, match="notes"):
        predictor(names)


def test_four_threads_get_what_one_gets(predictor, photos):
    names = [photos / f"{number % 4}.png" for number in range(16)]
    serial = [predictor(name) for name in names]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(predictor, names), serial, strict=True):
            assert_equal(one, other)
            np.testing.assert_array_equal(one.boxes, other.boxes)


def test_kinds_of_input_give_one_result(predictor, photos):
    with Image.open(photos / "1.png") as image:
        from_pillow = predictor(image)
    rgb = np.asarray(Image.open(photos / "1.png"))
    expected = predictor(photos / "1.png")
    for result in (from_pillow, predictor(rgb[:, :, ::-1])):
        assert_equal(result, expected)
    assert_equal(predictor(torch.as_tensor(rgb.copy()).permute(2, 0, 1)), expected)


def test_thresholds_hold_for_each_class(checkpoint, photos):
    everything = Predictor(checkpoint, threshold=0)(photos / "0.png")
    name = everything.names[0]
    limit = float(everything.scores[0]) + 1e-4
    some = Predictor(checkpoint, threshold=dict.fromkeys(CLASSES, 0.0) | {name: limit})
    assert some(photos / "0.png").names == [n for n in everything.names if n != name]


def test_threshold_below_that_of_the_model_reaches_the_model(checkpoint, photos):
    """Otherwise 0.0 would silently mean 0.9."""
    options = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.99999"]
    assert len(Predictor(checkpoint, threshold=0, opts=options)(photos / "0.png")) == 7


def test_low_threshold_reaches_solov2_by_the_names_of_its_thresholds():
    cfg = get_cfg()
    add_solov2_config(cfg)
    _lower_score_threshold(cfg, 0.02)
    assert (cfg.MODEL.SOLOV2.SCORE_THR, cfg.MODEL.SOLOV2.UPDATE_THR) == (0.02, 0.02)


def test_thresholds_in_the_checkpoint_count_where_none_are_given(checkpoint, photos, tmp_path):
    """For instance the best ones of an evaluation."""
    content = read_checkpoint(str(checkpoint))
    content["d2lite"]["thresholds"] = dict.fromkeys(CLASSES, 0.0)
    path = write_weights(tmp_path / "with_thresholds.pth", content)
    assert len(Predictor(path)(photos / "0.png")) == 7


def test_best_thresholds_come_from_the_report_of_a_run(checkpoint, photos, tmp_path):
    report = tmp_path / "report.json"
    best = {"star": None, "circle": 0.25}
    tasks = {"bbox": {"thresholds": {"circle": 0.9}}, "segm": {"thresholds": best}}
    report.write_text(json.dumps({"set": "val", "tasks": tasks}))
    assert read_thresholds(report) == {"circle": 0.25}
    named = tmp_path / "own.json"
    named.write_text(json.dumps(dict.fromkeys(CLASSES, 0.0)))
    assert len(Predictor(checkpoint, threshold=named)(photos / "0.png")) == 7
    for text, message in (("[1]", "does not hold thresholds"), ("{", "cannot be read as JSON")):
        named.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_thresholds(named)
    with pytest.raises(MissingFileError, match="file of thresholds"):
        read_thresholds(tmp_path / "gone.json")


def test_names_of_keypoints_and_stuff_come_with_the_checkpoint(checkpoint, tmp_path):
    """Where the data of the training are not: for skeletons, and names of segments."""
    content = read_checkpoint(str(checkpoint))
    rules = [["head", "tail", [0, 255, 0]]]
    content["d2lite"]["metadata"] = {
        "keypoint_names": ["head", "tail"],
        "keypoint_connection_rules": rules,
        "thing_classes": ["never", "these"],
        "not a name": 1,
    }
    path = write_weights(tmp_path / "with_metadata.pth", content)
    predictor = Predictor(path)
    assert predictor.metadata.keypoint_names == ["head", "tail"]
    assert predictor.metadata.keypoint_connection_rules == rules
    assert predictor.class_names == CLASSES


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({"dog": 0.5}, "'dog', which is not a class.*circle, square"),
        ({"star": 1.5}, "of 'star' is 1.5"),
        ({"star": "low"}, "of 'star' is 'low'; it must be a number"),
        (-0.1, "is -0.1"),
    ],
)
def test_wrong_thresholds_are_refused(checkpoint, threshold, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(checkpoint, threshold=threshold)


def test_run_folder_and_config_bring_their_last_checkpoint(checkpoint, photos, tmp_path):
    (tmp_path / "config.yaml").write_text(tiny_cfg().dump())
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    (tmp_path / "model_final.pth").write_bytes(checkpoint.read_bytes())
    expected = Predictor(checkpoint, threshold=0)(photos / "0.png")
    cfg = tiny_cfg()
    cfg.MODEL.WEIGHTS = str(checkpoint)
    for source in (tmp_path, tmp_path / "config.yaml", cfg):
        assert_equal(Predictor(source, threshold=0)(photos / "0.png"), expected)
    (tmp_path / "config.yaml").unlink()
    assert_equal(Predictor(tmp_path, threshold=0)(photos / "0.png"), expected)


def test_safetensors_file_is_a_model_too(checkpoint, photos, tmp_path):
    pytest.importorskip("safetensors")
    content = read_checkpoint(str(checkpoint))
    path = write_weights(
        tmp_path / "m.safetensors", {"model": content["model"], "d2lite": content["d2lite"]}
    )
    expected = Predictor(checkpoint, threshold=0)(photos / "0.png")
    loaded = Predictor(path, threshold=0)
    assert_equal(loaded(photos / "0.png"), expected)


def changed(checkpoint, path, config) -> str:
    content = read_checkpoint(str(checkpoint))
    content["d2lite"]["config"] = config
    return str(write_weights(path, content))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("MODEL: !!python/object/apply:os.system ['touch hacked']\n", "tags are refused"),
        ("model: {_target_: os.system}\ntrain: {}\n", "Python config"),
        ("_BASE_: /etc/passwd\n", "_BASE_"),
        ("MODEL: {NO_SUCH_KEY: 1}\n", "NO_SUCH_KEY"),
        ("[1, 2", "not valid YAML"),
    ],
)
def test_config_in_a_checkpoint_is_data_and_never_runs(
    checkpoint, tmp_path, monkeypatch, config, message
):
    monkeypatch.chdir(tmp_path)
    path = changed(checkpoint, tmp_path / "other.pth", config)
    with pytest.raises(WeightsError, match=message):
        Predictor(path)
    assert not (tmp_path / "hacked").exists()


def test_weights_without_a_config_are_refused_with_the_way_to_use_them(checkpoint, tmp_path):
    content = read_checkpoint(str(checkpoint))
    path = write_weights(tmp_path / "bare.pth", {"model": content["model"]})
    with pytest.raises(WeightsError, match=r"--config-file CONFIG\.yaml MODEL\.WEIGHTS"):
        Predictor(path)


def test_missing_models_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing\.pth"):
        Predictor(tmp_path / "nothing.pth")
    with pytest.raises(MissingFileError, match=r"neither config\.yaml nor last_checkpoint"):
        Predictor(tmp_path)
    with pytest.raises(UserError, match="no such run folder, checkpoint or published model"):
        Predictor("no_such_model_at_all")
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        Predictor(tmp_path, batch_size=0)


def test_published_model_is_found_by_its_name():
    cfg = model_config("mask_rcnn_R_50_FPN_3x")
    assert cfg.MODEL.WEIGHTS.endswith("mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl")


def test_other_readers_of_a_checkpoint_are_not_disturbed(checkpoint):
    """The config is an entry beside the weights."""
    content = read_checkpoint(str(checkpoint))
    assert all(isinstance(value, torch.Tensor) for value in content["model"].values())
    model = Predictor(checkpoint).model
    report = DetectionCheckpointer(model).load(str(checkpoint))
    assert report["d2lite"]["class_names"] == CLASSES


def test_stream_takes_a_folder_a_glob_and_a_video(predictor, photos, tmp_path):
    """As people write source="photos/" elsewhere."""
    image = cv2.imread(str(min(photos.iterdir())))
    (tmp_path / "photos").mkdir()
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / "photos" / name), image)
    found = list(predictor.stream(tmp_path / "photos"))
    assert [Path(result.path).name for result in found] == ["a.png", "b.png"]
    assert_equal(found[0], predictor(image))
    assert len(list(predictor.stream(str(tmp_path / "photos" / "b*")))) == 1
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for _ in range(2):
        writer.write(cv2.resize(image, (96, 64)))
    writer.release()
    assert [result.size for result in predictor.stream(str(clip))] == [(64, 96)] * 2
    for many in (tmp_path / "photos", clip, "*.jpg"):
        with pytest.raises(DataError, match=r"is not one image.*predictor\.stream\("):
            predictor(many)
    with pytest.raises(MissingFileError, match="there is no such file, folder or dataset"):
        next(predictor.stream("nowhere/"))
