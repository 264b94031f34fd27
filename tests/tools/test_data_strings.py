"""Own data from the command line: strings alone, from the first iteration to the scores."""

import json

import numpy as np
import pytest
import torch

from d2lite.data import dataset_dicts
from tests.data import spoilt
from tests.data.spec_files import SQUARE
from tests.shared_data import shared_data
from tests.tools.conftest import TINY


def train(run, *options):
    """Two iterations of the tiny model and an evaluation."""
    return run(
        "train_net", "--config-file", "quick_start.yaml", *TINY,
        "SOLVER.MAX_ITER", 2, "OUTPUT_DIR", "out", *options,
    )  # fmt: skip


def saved(folder):
    return torch.load(folder / "out/model_final.pth", weights_only=True)


@pytest.mark.parametrize(
    ("data", "train_set", "test_set", "masks", "classes"),
    [
        ("coco_tiny", "coco:coco_tiny/annotations/instances_train2017.json",
         "auto:coco_tiny@val?images=few.txt", True, 80),
        ("fruit_nuts", "coco:fruit_nuts/trainval.json@fruit_nuts/images",
         "coco:fruit_nuts/trainval.json", True, 3),
        ("bccd", "voc:bccd@trainval", "voc:bccd@test", False, 3),
    ],
)  # fmt: skip
def test_real_data_train_and_evaluate_by_strings_alone(
    run, folder, monkeypatch, data, train_set, test_set, masks, classes
):
    """No registration, no number of classes, no code."""
    # The table of a set is shown once in a process, and other tests load these too.
    monkeypatch.setattr(dataset_dicts, "_counted", {})
    root = shared_data(data).parent
    monkeypatch.setenv("D2LITE_DATASETS", str(root))
    images = sorted((root / "coco_tiny/val2017").glob("*.jpg"))[:12]
    (folder / "few.txt").write_text("".join(f"{path.name}\n" for path in images))
    result = train(
        run, "DATASETS.TRAIN", (train_set,), "DATASETS.TEST", (test_set,), "MODEL.MASK_ON", masks
    )
    assert result.status == 0, result.err
    if classes != 80:  # which is the default
        assert f"MODEL.ROI_HEADS.NUM_CLASSES {classes} follows from the classes" in result.out
    assert "Objects of each class over" in result.out
    assert "copypaste: AP," in result.out
    extra = saved(folder)["d2lite"]
    assert len(extra["classes"]) == classes
    assert extra["class_names"] == [row["name"] for row in extra["classes"]]


def four_channels(folder, count=4):
    """Arrays of red, green, blue and infrared with one square each."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 4000, (40, 48, 4), dtype=np.uint16)
        np.save(folder / f"{number}.npy", pixels)
        images.append({"id": number, "file_name": f"{number}.npy", "height": 40, "width": 48})
        square = [4 * value for value in SQUARE]
        annotations.append(
            {"id": number + 1, "image_id": number, "category_id": 5, "segmentation": [square]}
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "x"}]}
    (folder / "a.json").write_text(json.dumps(content))
    return "coco:f/a.json"


FOUR = [
    "INPUT.FORMAT", "BGRN",
    "MODEL.PIXEL_MEAN", "[2000.0, 2000.0, 2000.0, 2000.0]",
    "MODEL.PIXEL_STD", "[1000.0, 1000.0, 1000.0, 1000.0]",
]  # fmt: skip


def test_four_channels_train_evaluate_predict_and_are_drawn(run, folder, trained):
    """The first convolution follows the pixel mean; weights for three channels say what is lost."""
    name = four_channels(folder / "f")
    data = ["DATASETS.TRAIN", (name,), "DATASETS.TEST", (name,)]
    result = train(run, *data, *FOUR, "MODEL.WEIGHTS", trained / "model_final.pth")
    assert result.status == 0, result.err
    assert "3 channels in the file and of 4 in the model (MODEL.PIXEL_MEAN)" in result.out
    assert "FREEZE_AT above 0 it would stay untrained" in result.out
    weights = saved(folder)["model"]["backbone.bottom_up.stem.conv1.weight"]
    assert weights.shape[1] == 4
    assert "copypaste: AP," in result.out
    result = run(
        "demo", "--config-file", "out/config.yaml", "--input", "f/0.npy", "--output", "seen",
        "--confidence-threshold", 0,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert (folder / "seen/0.png").is_file()
    for source in ("annotation", "dataloader"):
        result = run(
            "visualize_data", "--config-file", "out/config.yaml", "--source", source,
            "--output-dir", source, "--num-images", 2,
        )  # fmt: skip
        assert result.status == 0, result.err
        assert len(list((folder / source).iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (FOUR[:2], "MODEL.PIXEL_MEAN and PIXEL_STD need one number for each channel"),
        (["INPUT.FORMAT", "RGBNS", *FOUR[2:]], "has 4 channels, and INPUT.FORMAT 'RGBNS' lists 5"),
    ],
)
def test_channels_that_do_not_fit_are_told(run, folder, options, why):
    name = four_channels(folder / "f")
    result = train(run, "DATASETS.TRAIN", (name,), "DATASETS.TEST", "()", *options)
    assert result.status == 2
    assert why in result.err


def test_a_spoilt_test_set_is_scored_for_what_is_sound(run, folder):
    """Not a crash after the hours of a training: objects that cannot be read are left out."""
    content = json.loads(spoilt.spoilt(folder / "d").read_text())
    numbers = set(range(11, spoilt.NUM_IMAGES))
    content["images"] = [image for image in content["images"] if image.get("id") in numbers]
    (folder / "d/b.json").write_text(json.dumps(content))
    result = run(
        "train_net", "--config-file", "quick_start.yaml", "--eval-only", *TINY,
        "DATASETS.TRAIN", "()", "DATASETS.TEST", "('coco:d/b.json',)", "OUTPUT_DIR", "out",
        "MODEL.ROI_HEADS.NUM_CLASSES", 4,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "copypaste: Task: segm" in result.out
    assert "annotations of the ground truth have no readable box or mask" in result.out
