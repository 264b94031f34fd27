"""tools/check_dataset.py says what is wrong with a dataset and ends accordingly."""

import json

import pytest

from d2lite.data.records.faults import FAULTS
from tests.data import spoilt
from tests.data.spec_files import coco, voc
from tests.tools.conftest import TINY


def test_a_spoilt_dataset_ends_with_1_and_a_table(run, folder):
    spoilt.spoilt(folder)
    result = run("check_dataset", "coco:spoilt.json", "--threads", 1)
    assert result.status == 1
    assert "5  box of zero, negative or non-finite size" in result.out
    assert "03.png" in result.out


def test_a_folder_is_checked_with_its_splits(run, folder):
    voc(folder / "photos", train={"a": ["cat"], "b": ["owl"]}, val={"c": ["cat"]})
    result = run("check_dataset", "photos")
    assert result.status == 1  # all images of `voc` are equal, and that is seen across splits
    assert "auto:photos@train: 2 usable images" in result.out
    assert "auto:photos@val: 1 usable images, 1 usable objects, 2 classes" in result.out
    assert "  objects: 1 cat, 1 owl\n" in result.out


def test_a_cleaned_copy_is_written_and_sound(run, folder):
    spoilt.spoilt(folder)
    result = run("check_dataset", "coco:spoilt.json", "--fix", "sound.json")
    assert result.status == 1
    assert f"Wrote {spoilt.NUM_SOUND_IMAGES} images" in result.out
    name = result.out.split("Use it as ")[1].strip()
    again = run("check_dataset", name)
    assert again.status == 0, again.out
    assert len(json.loads((folder / "sound.json").read_text())["images"]) == 21


def test_a_sound_dataset_ends_with_0(run, folder):
    coco(folder / "a.json", objects=[(0, 1), (1, 2)])
    for number, name in enumerate("ab"):
        spoilt.photo(folder / f"{name}.jpg", number)
    result = run("check_dataset", "coco:a.json")
    assert (result.status, "no faults" in result.out) == (0, True)


def test_a_string_may_be_longer_than_the_name_of_a_file(run, folder):
    names = ("cat" * 50, "owl" * 50)
    coco(folder / "a.json", names, objects=[(0, 1), (1, 2)])
    for number, name in enumerate("ab"):
        spoilt.photo(folder / f"{name}.jpg", number)
    string = f"coco:a.json?classes={','.join(names)}"
    assert run("check_dataset", string).status == 0
    assert "lost: nothing" in run("convert_dataset", string, "--to", "coco", "--output", "o").out


def test_train_and_test_are_compared_by_content_and_class(run, folder):
    coco(folder / "t/a.json", objects=[(0, 1), (1, 2)], files=["a.png", "b.png"])
    coco(folder / "v/a.json", ("cat", "ant", "elk"), objects=[(0, 1), (1, 2)],
         files=["c.png", "d.png", "e.png"])  # fmt: skip
    for name, seed in {"t/a": 1, "t/b": 2, "v/c": 1, "v/d": 2, "v/e": 3}.items():
        spoilt.photo(folder / f"{name}.png", seed)
    result = run("check_dataset", "coco:t/a.json", "coco:v/a.json")
    assert result.status == 1
    assert "2  image that an earlier set has too (by content)" in result.out
    assert f"{folder / 'v/c.png'} is {folder / 't/a.png'} of coco:t/a.json" in result.out
    assert "3  class that not all sets have" in result.out


# What a training meets besides objects, and only where images without any are kept.
_OF_IMAGES = ("missing_image", "unreadable_image", "size_differs", "exif_rotation")
_ONLY_CHECKED = ("partly_masked", "exif_turned", "empty_class")


def test_training_on_a_spoilt_dataset_runs_to_the_end(run, folder):
    """Bad objects are skipped, bad images replaced, and both are counted."""
    spoilt.spoilt(folder)
    result = run(
        "train_net", "--config-file", "quick_start.yaml", *TINY,
        "DATASETS.TRAIN", "('coco:spoilt.json',)", "DATASETS.TEST", "()",
        "DATALOADER.MAX_BAD_SHARE", "0.6", "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False",
        "OUTPUT_DIR", "out", "MODEL.MASK_ON", "False", "SOLVER.IMS_PER_BATCH", "8",
        "SOLVER.MAX_ITER", "5",
    )  # fmt: skip
    assert result.status == 0, result.err
    text = (folder / "out/log.txt").read_text()
    for kind, count in spoilt.COUNTS.items():
        if kind not in (*_OF_IMAGES[1:], *_ONLY_CHECKED):
            assert f"{count} x {FAULTS[kind].what}" in text
    # Forty places of the stream hold each of 30 images at least once.
    bad = sum(spoilt.COUNTS[kind] for kind in _OF_IMAGES)
    assert text.count("in place of a bad one") == bad
    assert f"({bad} so far)" in text
    assert f"total: {spoilt.NUM_SOUND_OBJECTS} objects of 4 classes" in text
    assert (folder / "out/model_final.pth").is_file()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["coco:none.json"], "none.json does not exist"),
        (["coco:a.json", "coco:b.json", "--fix", "c.json"], "--fix takes one DATA"),
        (["coco:a.json", "--threads", "0"], "--threads: 0 is not"),
    ],
)
def test_mistakes_end_with_2_and_say_why(run, folder, arguments, why):
    result = run("check_dataset", *arguments)
    assert result.status == 2
    assert why in result.err
