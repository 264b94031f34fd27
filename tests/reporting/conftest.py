"""The folder of a run that was evaluated, without training anything."""

import json

import pytest
from PIL import Image

from d2lite.reporting import RunFacts, write_run_report

from .sets import random_set


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Images and a COCO file, as the string of a dataset, and results on it."""
    folder = tmp_path_factory.mktemp("photos")
    truth, results = random_set(7, num_images=12)
    for image in truth["images"]:
        image["file_name"] = f"{image['id']}.png"
        Image.new("RGB", (200, 200), (90, 120, 20 * image["id"])).save(folder / image["file_name"])
    truth["categories"][0]["name"] = "<b>cat</b> & $co$"
    (folder / "labels.json").write_text(json.dumps(truth))
    return f"coco:{folder}/labels.json@{folder}", results


def write_run(folder, photos, **facts):
    """Write the files of a run of 100 iterations."""
    name, results = photos
    (folder / "inference").mkdir(parents=True)
    (folder / "inference" / "coco_instances_results.json").write_text(json.dumps(results))
    lines = [
        {"iteration": i, "total_loss": 2.0 - i / 100, "loss_cls": 1.0, "lr": 0.01, "time": 0.2}
        for i in range(19, 100, 20)
    ]
    lines += [{"iteration": 49, "bbox/AP": 3.0}, {"iteration": 99, "bbox/AP": float("nan")}]
    text = "\n".join(json.dumps(line).replace("NaN", "null") for line in lines)
    (folder / "metrics.json").write_text(text + '\n{"iteration": 119, "total_l')
    (folder / "log.txt").write_text(
        "[11/26 11:54:59 d2lite.data]: WARNING 2 boxes are odd <script>\n"
        "[11/26 11:54:59 d2lite.data]: WARNING 2 boxes are odd <script>\n"
        "[11/26 11:55:00 d2lite.engine]: a line that is not a warning\n"
    )
    options = {"command": "d2lite train", "options": "SEED: 1  # command line", **facts}
    RunFacts(train_sets=[name], test_sets=[name], **options).write(folder)
    return folder


@pytest.fixture
def run_folder(tmp_path, photos):
    return write_run(tmp_path / "my run", photos)


@pytest.fixture(scope="session")
def report(tmp_path_factory, photos):
    """A report, written once."""
    return write_run_report(write_run(tmp_path_factory.mktemp("runs") / "mine", photos))
