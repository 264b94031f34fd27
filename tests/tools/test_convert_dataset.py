"""tools/convert_dataset.py writes datasets that its last lines name."""

import os

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from tests.data.spec_files import voc


@pytest.fixture
def folder(folder):
    voc(folder / "v", train={f"i{n}": ["cat", "owl"] for n in range(10)})
    return folder


def test_the_strings_of_the_splits_are_printed(run, folder):
    result = run(
        "convert_dataset", "voc:v", "--to", "yolo", "--output", "out",
        "--split", "train=0.8,val=0.2", "--classes", "owl",
    )  # fmt: skip
    assert result.status == 0, result.err
    lines = dict(line.split(": ", 1) for line in result.out.splitlines() if line[0] in "tvl")
    assert lines["lost"] == "nothing"
    records = {name: DatasetCatalog.get(lines[name]) for name in ("train", "val")}
    assert [len(r) for r in records.values()] == [8, 2]
    assert all(len(r["annotations"]) == 1 for r in records["train"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--split", "train"], "train=0.8,val=0.2"),
        (["--split", "a=0.5,a=0.5"], "names must differ"),
        (["--split", "a=0.5,../b=0.5"], "letters and digits"),
        (["--split-name", "../x"], "letters and digits"),
        (["--classes", "dog"], "no 'dog'"),
        (["--output", "v"], "not empty"),
    ],
)
def test_mistakes_end_with_2_and_say_why(run, folder, arguments, why):
    options = ["--to", "coco", "--output", "out", *arguments]
    result = run("convert_dataset", "voc:v", *options)
    assert result.status == 2
    assert why in result.err


def test_a_folder_keeps_its_splits(run, folder):
    voc(folder / "w", train={"a": ["cat"]}, val={"b": ["owl"], "c": ["cat"]})
    result = run("convert_dataset", "w/", "--to", "coco", "--output", "out")
    assert result.status == 0, result.err
    lines = dict(line.split(": ", 1) for line in result.out.splitlines() if line[0] in "tvl")
    assert [len(DatasetCatalog.get(lines[name])) for name in ("train", "val")] == [1, 2]
    for name in ("train", "val"):
        assert MetadataCatalog.get(lines[name]).thing_classes == ["cat", "owl"]


def test_a_folder_that_is_split_anew_gives_all_its_images(run, folder):
    voc(folder / "w", train={"a": ["cat"]}, val={"b": ["owl"]})
    options = ["--to", "coco", "--output", "out", "--split", "one=0.5,two=0.5"]
    result = run("convert_dataset", "w", *options)
    assert result.status == 0, result.err
    assert "one: coco:" in result.out
    assert "two: coco:" in result.out


@pytest.mark.parametrize("spec", ["pipe.json", "auto:pipe.json"])
def test_a_named_pipe_is_refused(run, folder, spec):
    os.mkfifo(folder / "pipe.json")
    result = run("convert_dataset", spec, "--to", "coco", "--output", "out")
    assert result.status == 2
    assert "pipe.json is neither a file nor a folder" in result.err
