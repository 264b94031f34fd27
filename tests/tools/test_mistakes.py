"""What a user can get wrong ends with status 2 and a message that names the mend, and no trace."""

import json

import pytest
import torch

from .conftest import TINY

QUICK_START = ["--config-file", "quick_start.yaml"]


def coco_file(folder, *, images=1, categories=("cat",), annotations=0):
    """A COCO JSON whose images do not exist."""
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80} for i in range(images)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(categories)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400,
             "iscrowd": 0, "segmentation": [[5, 5, 25, 5, 25, 25]]}
            for i in range(annotations)
        ],
    }  # fmt: skip
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def assert_mistake(result, *parts: str) -> None:
    """Status 2, every part of the message, and no trace on the console."""
    assert result.status == 2
    for part in parts:
        assert part in result.err
    assert "Traceback" not in result.err + result.out


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--config-file", "no_such.yaml"], ["no_such.yaml", "Known configs"]),
        (["--config-file", "mask_rcnn"], ["can mean", "mask_rcnn_R_50_FPN_1x.yaml"]),
        ([*QUICK_START, "SOLVER.BASE_RL", "0.1"], ["SOLVER.BASE_RL", "SOLVER.BASE_LR"]),
        ([*QUICK_START, "SOLVER.MAX_ITER", "many"], ["SOLVER.MAX_ITER", "many"]),
        ([*QUICK_START, "SOLVER.MAX_ITER"], ["SOLVER.MAX_ITER"]),
        ([*QUICK_START, "DATASETS.TRAIN", "('shapes_trian',)"], ["shapes_trian", "shapes_train"]),
        ([*QUICK_START, "MODEL.BACKBONE.NAME", "resnet50"], ["resnet50", "build_resnet_backbone"]),
        ([*QUICK_START, "MODEL.WEIGHTS", "/no/such/model.pth"], ["/no/such/model.pth"]),
        ([*QUICK_START, "--import", "/no/such/code.py"], []),
        (["--import", "/no/such/code.py", *QUICK_START], ["/no/such/code.py"]),
    ],
)
def test_mistake_on_the_command_line(run, tmp_path, args, parts):
    tiny = TINY if args[0] != "--import" else []
    if args[-1] != "SOLVER.MAX_ITER":
        args = [*args[:2], *tiny, "OUTPUT_DIR", str(tmp_path), *args[2:]] if tiny else args
    assert_mistake(run("train_net", *args), *parts)


@pytest.mark.parametrize(
    ("train", "test"), [("missing_train", None), ("shapes_train", "missing_test")]
)
def test_images_that_are_missing_are_named_before_the_first_step(run, tmp_path, train, test):
    path = coco_file(tmp_path, images=3, annotations=3)
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from d2lite.data.datasets import register_coco_instances\n"
        f"register_coco_instances({test or train!r}, {{}}, {str(path)!r}, {str(tmp_path)!r})\n"
    )
    result = run(
        *("train_net", *QUICK_START, "--import", mine, *TINY),
        *("DATASETS.TRAIN", str([train]), "DATASETS.TEST", str([test] if test else [])),
        *("OUTPUT_DIR", tmp_path / "out"),
    )
    assert_mistake(result, ".jpg", str(tmp_path))
    assert "Training from iteration" not in result.err


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("empty_set", {"images": 0}, ["empty_set"]),
        ("nothing_annotated", {"images": 2}, ["FILTER_EMPTY_ANNOTATIONS"]),
        ("zero_classes", {"images": 2, "categories": ()}, ["annotations.json", "categories"]),
    ],
)
def test_dataset_with_nothing_to_learn_from(run, tmp_path, name, options, parts):
    path = coco_file(tmp_path, **options)
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from d2lite.data.datasets import register_coco_instances\n"
        f"register_coco_instances({name!r}, {{}}, {str(path)!r}, {str(tmp_path)!r})\n"
    )
    result = run(
        *("train_net", *QUICK_START, "--import", mine, *TINY),
        *("DATASETS.TRAIN", f"({name!r},)", "DATASETS.TEST", "()"),
        *("OUTPUT_DIR", tmp_path / "out"),
    )
    assert_mistake(result, *parts)


def test_weights_of_another_model(run, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"model": {"encoder.layer.weight": torch.zeros(3)}}, other)
    result = run(
        *("train_net", *QUICK_START, "--eval-only", *TINY),
        *("MODEL.WEIGHTS", other, "OUTPUT_DIR", tmp_path / "out"),
    )
    assert_mistake(result, "other.pth")


def test_file_that_is_no_checkpoint(run, tmp_path):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    result = run(
        *("train_net", *QUICK_START, "--eval-only", *TINY),
        *("MODEL.WEIGHTS", broken, "OUTPUT_DIR", tmp_path / "out"),
    )
    assert_mistake(result, "broken.pth")


def test_number_of_classes_that_does_not_fit_shows_the_lists_and_logs_its_trace(run, tmp_path):
    result = run(
        *("train_net", *QUICK_START, *TINY),
        *("MODEL.ROI_HEADS.NUM_CLASSES", 2, "OUTPUT_DIR", tmp_path),
    )
    assert_mistake(result, "MODEL.ROI_HEADS.NUM_CLASSES=2", "triangle")
    # For whoever has to find out more.
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_output_folder_that_cannot_be_written(run, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    result = run("train_net", *QUICK_START, *TINY, "OUTPUT_DIR", file / "out")
    assert_mistake(result, "OUTPUT_DIR", str(file))


@pytest.mark.parametrize("pattern", ["/no/such/*.jpg", "/no/such.png"])
def test_demo_input_without_a_match(run, trained, pattern):
    result = run("demo", "--config-file", trained / "config.yaml", "--input", pattern)
    assert_mistake(result, pattern, "no such file")


def test_demo_without_weights(run, tmp_path):
    result = run("demo", *QUICK_START, "--input", "shapes://val/0", "--output", tmp_path)
    assert_mistake(result, "MODEL.WEIGHTS")


def test_demo_output_that_cannot_be_written(run, trained, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    result = run(
        *("demo", "--config-file", trained / "config.yaml"),
        *("--input", "shapes://val/0", "--output", file / "out"),
    )
    assert_mistake(result, str(file))


def test_demo_input_that_is_no_image(run, trained, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 nothing more")
    result = run(
        *("demo", "--config-file", trained / "config.yaml"),
        *("--input", broken, "--output", tmp_path / "out.jpg"),
    )
    assert_mistake(result, "broken.jpg")
