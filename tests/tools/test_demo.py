"""tools/demo.py draws what a model finds, wherever the pictures come from."""

import json

import cv2
import numpy as np
import pytest

from d2lite.data.images.image_io import read_image


@pytest.fixture
def folder(tmp_path):
    """Three pictures of the built-in data, one with a name that needs quoting, and a text file."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, name in enumerate(["a.jpg", "b c.png", "ä.bmp"]):
        ok, encoded = cv2.imencode(name[-4:], read_image(f"shapes://val/{i}", "BGR"))
        assert ok
        (pictures / name).write_bytes(encoded.tobytes())
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def demo(run, trained, *args):
    """Run the demo with the tiny model's own configuration, drawing everything."""
    options = ["--config-file", trained / "config.yaml", "--confidence-threshold", 0]
    return run("demo", *options, *args)


def test_one_picture_goes_to_the_named_file(run, trained, folder, tmp_path):
    """And is drawn on: it differs from what came in."""
    output = tmp_path / "found.png"
    result = demo(run, trained, "--input", folder / "b c.png", "--output", output)
    assert result.status == 0
    before = read_image(str(folder / "b c.png"), "RGB")
    after = read_image(str(output), "RGB")
    times = after.shape[0] // before.shape[0]
    assert after.shape == (times * before.shape[0], times * before.shape[1], 3)
    assert 480 <= min(after.shape[:2]) < 960, "small pictures are enlarged, for their labels' sake"
    assert (after[times // 2 :: times, times // 2 :: times] != before).any()


def test_weights_come_from_the_training_that_wrote_the_config(run, trained, folder, tmp_path):
    """last_checkpoint beside config.yaml says which; nobody types a path twice."""
    result = demo(run, trained, "--input", folder / "a.jpg", "--output", tmp_path / "x.jpg")
    assert result.status == 0
    assert "random" not in result.out + result.err


@pytest.mark.parametrize("pattern", ["", "*.*g"])
def test_folder_and_glob_give_a_picture_each(run, trained, folder, tmp_path, pattern):
    """Names are kept; what is no picture is left out."""
    names = {"a.jpg", "b c.png", "ä.bmp"} if not pattern else {"a.jpg", "b c.png"}
    output = tmp_path / "out"
    result = demo(run, trained, "--input", folder / pattern, "--output", output)
    assert result.status == 0
    assert {path.name for path in output.iterdir()} == names


def test_json_holds_every_instance_with_its_class_name(run, trained, folder, tmp_path):
    """COCO results, and readable without a table of classes."""
    saved = tmp_path / "found.json"
    result = demo(
        run,
        trained,
        *("--input", folder, "--output", tmp_path / "out", "--save-json", saved),
    )
    assert result.status == 0
    instances = json.loads(saved.read_text())
    assert {item["image_id"] for item in instances} == {
        str(p) for p in folder.glob("*.[jpb][pnm]*")
    }
    for item in instances:
        assert item["category_name"] in {"circle", "square", "triangle", "star", "heart"}
        assert len(item["bbox"]) == 4
        assert 0 <= item["score"] <= 1
        assert "counts" in item["segmentation"]


def test_video_comes_back_with_as_many_frames(run, trained, tmp_path):
    """Frame by frame at the rate it had, enlarged for the labels as pictures are."""
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for i in range(4):
        writer.write(np.full((64, 96, 3), 40 * i, np.uint8))
    writer.release()
    output = tmp_path / "out"
    result = demo(run, trained, "--input", source, "--output", output)
    assert result.status == 0
    capture = cv2.VideoCapture(str(output / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FPS)) == (8 * 96, 10)
    capture.release()


def test_picture_of_the_built_in_data_needs_no_file(run, trained, tmp_path):
    """A first try without any picture at hand."""
    result = demo(run, trained, "--input", "shapes://val/3", "--output", tmp_path)
    assert result.status == 0
    assert (tmp_path / "val_3.png").is_file()
