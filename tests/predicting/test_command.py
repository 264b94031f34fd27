"""`d2lite predict`, from its words to its files."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, Metadata
from d2lite.predicting import Predictor, Result
from d2lite.predicting.progress import FILE_NAME
from d2lite.predicting.tracking import Tracker
from d2lite.utils import comm


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def predict(d2lite):
    """Runs the command in this process; its exit status and what it wrote."""

    def run(*words: object) -> tuple[int, str]:
        status, out, err = d2lite("predict", *words)
        return status, out + err

    return run


def test_checkpoint_and_folder_are_all_that_is_needed(predict, checkpoint, photos, tmp_path):
    status, _ = predict(checkpoint, photos, "--output", tmp_path / "out", "--threshold", 0)
    assert status == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["0.png", "1.png", "2.png", "3.png"]


def test_all_formats_at_once(predict, checkpoint, photos, tmp_path):
    formats = "drawing,json,coco,yolo,labelme,cvat,csv,crops,masks"
    out = tmp_path / "out"
    words = ("--save-as", formats, "--threshold", 0, "--save-json", tmp_path / "found.json")
    status, text = predict(checkpoint, photos, "--output", out, *words)
    assert status == 0
    expected = Predictor(checkpoint, threshold=0)([photos / f"{n}.png" for n in range(4)])
    content = json.loads((out / "predictions.json").read_text())
    assert [len(image["objects"]) for image in content] == [len(one) for one in expected]
    results = json.loads((tmp_path / "found.json").read_text())
    assert len(results) == sum(map(len, expected))
    assert len(DatasetCatalog.get(f"coco:{out / 'predictions_coco.json'}@{out}")) == 4
    for kind in ("yolo", "labelme", "masks"):
        assert (out / kind).is_dir()
        assert f"read by {kind}:" in text
    assert not (out / FILE_NAME).exists()


def test_one_input_goes_to_a_named_file(predict, checkpoint, photos, tmp_path):
    found = tmp_path / "found.jpg"
    assert predict(checkpoint, photos / "0.png", "--output", found)[0] == 0
    assert found.is_file()
    words = (checkpoint, photos / "0.png", "--output", found, "--save-as", "json")
    status, text = predict(*words)
    assert status == 2
    assert "Name a folder" in text


def test_where_nothing_is_found_a_lower_threshold_is_proposed(
    predict, checkpoint, photos, tmp_path, monkeypatch
):
    words = (checkpoint, photos / "0.png", "--output", tmp_path / "out")
    stream = Predictor.stream
    empty = lambda *args, **options: (one[:0] for one in stream(*args, **options))  # noqa: E731
    monkeypatch.setattr(Predictor, "stream", empty)
    assert "--threshold 0.1" in predict(*words)[1]
    assert "--threshold 0.1" not in predict(*words, "--threshold", "0")[1]
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(b"broken")
    assert "threshold" not in predict(checkpoint, tmp_path / "in", *words[2:])[1]


def test_unreadable_image_is_named_and_the_others_are_predicted(
    predict, checkpoint, photos, tmp_path
):
    shutil.copytree(photos, tmp_path / "in")
    (tmp_path / "in" / "1.png").write_bytes(b"broken")
    status, text = predict(checkpoint, tmp_path / "in", "--output", tmp_path / "out")
    assert status == 1
    assert "1 of 4 images could not be read" in text
    assert sorted(os.listdir(tmp_path / "out")) == ["0.png", "2.png", "3.png"]


def test_broken_video_is_named_and_the_other_inputs_are_predicted(
    predict, checkpoint, photos, tmp_path
):
    shutil.copytree(photos, tmp_path / "in")
    (tmp_path / "in" / "a.mp4").write_bytes(b"broken")
    status, text = predict(checkpoint, tmp_path / "in", "--output", tmp_path / "out")
    assert status == 1
    assert "1 of 5 inputs could not be read" in text
    assert len(os.listdir(tmp_path / "out")) == 4


def test_a_folder_for_the_results_in_json_is_refused_before_the_work(
    predict, checkpoint, photos, tmp_path
):
    words = (checkpoint, photos, "--output", tmp_path / "out", "--save-json", tmp_path)
    status, text = predict(*words)
    assert status == 2
    assert "--save-json" in text
    assert not list((tmp_path / "out").glob("*.png"))


def test_images_of_one_name_from_two_folders_do_not_overwrite_each_other(
    predict, checkpoint, photos, tmp_path
):
    shutil.copytree(photos, tmp_path / "in")
    words = (photos / "0.png", tmp_path / "in" / "0.png", "--output", tmp_path / "out")
    assert predict(checkpoint, *words)[0] == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["0.png", "0_2.png"]


def test_video_with_tracks(predict, checkpoint, tmp_path):
    pytest.importorskip("trackers")
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for number in range(5):
        writer.write(np.full((64, 96, 3), 40 * number, np.uint8))
    writer.release()
    words = ("--track", "--save-as", "drawing,json", "--threshold", 0, "--max-frames", 4)
    assert predict(checkpoint, source, "--output", tmp_path / "out", *words)[0] == 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["name"].rpartition("#")[2] for image in content] == ["0", "1", "2", "3"]
    assert all("track_id" in found for image in content for found in image["objects"])
    capture = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    capture.release()


def test_image_from_an_address(predict, checkpoint, photos, tmp_path):
    handler = functools.partial(QuietHandler, directory=str(photos))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        words = ("--output", tmp_path / "out", "--save-as", "drawing,labelme,coco")
        status, _ = predict(checkpoint, f"{address}/0.png", f"{address}/1.png", *words)
        server.shutdown()
    assert status == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert len(list((tmp_path / "out" / "labelme" / "predictions").glob("*.json"))) == 2


def test_same_object_keeps_its_number(predictor_of_squares):
    pytest.importorskip("trackers")
    tracker = Tracker(begin_at=0.5)
    ids = [tracker(result).track_ids.tolist() for result in predictor_of_squares]
    assert ids[0] == [-1, -1], "not confirmed yet"
    assert all(frame[0] == ids[2][0] and frame[1] == ids[2][1] for frame in ids[2:])
    assert len({*ids[-1]}) == 2


@pytest.fixture
def predictor_of_squares() -> list[Result]:
    """Eight frames of two squares that move in opposite directions."""
    frames = []
    for number in range(8):
        boxes = [[10 + 5 * number, 10, 40 + 5 * number, 40]]
        boxes.append([150 - 5 * number, 60, 190 - 5 * number, 100])
        frames.append(
            Result(
                (120, 200),
                np.array(boxes, np.float32),
                np.array([0.9, 0.8], np.float32),
                np.array([0, 0]),
                Metadata(thing_classes=["square"]),
            )
        )
    return frames


def test_tiles_find_at_least_what_is_there(predict, checkpoint, photos, tmp_path):
    big = np.tile(np.asarray(Image.open(photos / "0.png")), (2, 2, 1))
    Image.fromarray(big).save(tmp_path / "big.png")
    words = ("--tiles", 128, "--overlap", 0.25, "--save-as", "json", "--threshold", 0)
    assert predict(checkpoint, tmp_path / "big.png", "--output", tmp_path / "o", *words)[0] == 0
    (image,) = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert image["height"] == big.shape[0]
    assert len(image["objects"]) > 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Nothing to predict"),
        (["--save-as", "xml", "photo.png"], "xml is not a format"),
        (["nowhere.png"], "no such file"),
        (["0", "--save-as", "yolo"], "needs image files, and 0 is a video"),
        (["--track", "{photo}"], "no input is a video"),
        (["--threshold", "high", "{photo}"], "give a number from 0 to 1"),
        (["--threshold", "dog=0.4", "{photo}"], "'dog', which is not a class"),
        (["--tiles", "5", "{photo}"], "--tiles 5"),
    ],
)
def test_mistakes_are_explained(predict, checkpoint, photos, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    words = [word.format(photo=photos / "0.png") for word in words]
    status, text = predict(checkpoint, *words)
    assert status == 2
    assert message in text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"no weights at all"])
def test_checkpoint_that_is_damaged_is_called_so(predict, photos, tmp_path, content):
    (tmp_path / "model.pth").write_bytes(content)
    status, text = predict(tmp_path / "model.pth", photos)
    assert status == 2
    assert "model.pth" in text
    assert "damaged" in text


_SLOW = """
import sys, time
from d2lite.predicting.saving import OutputWriter
write = OutputWriter.write
def slow(self, *args):
    time.sleep(0.2)
    return write(self, *args)
OutputWriter.write = slow
from d2lite.commands import main
main(sys.argv[1:])
"""


def test_killed_prediction_goes_on_with_the_same_command(predict, checkpoint, photos, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(30):
        shutil.copy(photos / f"{number % 4}.png", folder / f"{number:02d}.png")
    words = [
        *("predict", str(checkpoint), str(folder), "--output", str(out)),
        *("--save-as", "drawing,json,csv", "--threshold", "0"),
    ]
    process = subprocess.Popen([sys.executable, "-c", _SLOW, *words])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / FILE_NAME).exists() and (out / FILE_NAME).read_text().count("\n") > 4:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "predictions.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    status, text = predict(*words[1:])
    assert status == 0
    assert "of 30 images are finished already" in text
    first = min(before)
    assert (out / first).stat().st_mtime_ns == before[first], "it was not predicted again"
    content = json.loads((out / "predictions.json").read_text())
    assert [image["name"] for image in content] == [str(p) for p in sorted(folder.iterdir())]
    assert len(list(out.glob("*.png"))) == 30
    assert not (out / FILE_NAME).exists()


def test_two_processes_predict_each_image_once_and_the_first_writes_the_whole(
    predict, checkpoint, photos, tmp_path, monkeypatch
):
    words = [checkpoint, photos, "--save-as", "json,csv", "--threshold", "0"]
    predict(*words, "--output", tmp_path / "alone")
    sent = []
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "gather", lambda part: sent.append(part) or [])
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    out = tmp_path / "two"
    status, _ = predict(*words, "--output", out)
    assert status == 0
    assert not (out / "predictions.json").exists()
    monkeypatch.setattr(comm, "gather", lambda part: [part, *sent])
    monkeypatch.setattr(comm, "get_rank", lambda: 0)
    status, text = predict(*words, "--output", out)
    assert status == 0
    assert "2 of 4 images are finished already" in text
    for name in ("predictions.json", "predictions.csv"):
        assert (out / name).read_text() == (tmp_path / "alone" / name).read_text()
    assert not list(out.glob("unfinished*"))


@pytest.mark.slow
def test_a_lost_process_of_a_prediction_comes_back_and_repeats_nothing(
    checkpoint, photos, tmp_path
):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(24):
        shutil.copy(photos / f"{number % 4}.png", folder / f"{number:02d}.png")
    (folder / "broken.png").write_bytes(b"not an image")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", "1", str(_write_script(tmp_path))]
    command += ["predict", checkpoint, folder, "--output", out, "--save-as", "drawing,json"]
    ended = subprocess.run(
        [*map(str, command), "--threshold", "0", "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "killed").exists()
    assert "images are finished already" in ended.stdout + ended.stderr
    assert "1 of 25 images could not be read" in ended.stdout + ended.stderr
    content = json.loads((out / "predictions.json").read_text())
    assert [Path(image["name"]).stem for image in content] == [f"{i:02d}" for i in range(24)]


def _write_script(folder):
    """The command, which process 1 leaves by a kill after its fifth image, once."""
    script = folder / "command.py"
    script.write_text(_KILLED_ONCE.format(mark=str(folder / "killed")))
    return script


_KILLED_ONCE = """
import os, signal, sys
from pathlib import Path
from d2lite.commands import main
from d2lite.predicting.progress import Progress

add, mark, number = Progress.add, Path({mark!r}), 0

def add_or_die(self, name, content):
    global number
    add(self, name, content)
    number += 1
    if number == 5 and os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

Progress.add = add_or_die
main()
"""
