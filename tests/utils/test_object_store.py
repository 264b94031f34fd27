"""Files at s3:// addresses, on a local server that also fails as real ones do."""

import multiprocessing
import os

import numpy as np
import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.data import get_detection_dataset_dicts
from d2lite.data.images.image_io import read_image
from d2lite.utils import object_store
from d2lite.utils.errors import ConfigError, MissingFileError, MissingPackageError
from d2lite.utils.file_io import PathManager, cache_dir
from tests.store_server import QUIET

pytestmark = QUIET
KEY = "s3://bucket/photos/a.png"


def test_an_image_is_fetched_once(bucket, server):
    first = read_image(KEY)
    assert np.array_equal(read_image(KEY), first)
    assert first.shape == (10, 12, 3)
    assert server.num_gets == 1


@pytest.mark.parametrize("string", ["coco:s3://bucket/labels.json@s3://bucket/photos",
                                    "coco:s3://bucket/labels.json@photos"])  # fmt: skip
def test_a_dataset_string_reads_annotations_and_images_of_a_bucket(bucket, string):
    (record,) = get_detection_dataset_dicts(string)
    assert record["file_name"] == KEY
    assert len(record["annotations"]) == 1
    assert read_image(record["file_name"]).shape == (10, 12, 3)


def test_a_kind_that_reads_no_addresses_says_so(bucket):
    with pytest.raises(MissingFileError, match="write coco:ADDRESS"):
        get_detection_dataset_dicts("yolo:s3://bucket/data.yaml")


def test_weights_are_read_from_a_bucket(bucket, tmp_path):
    model = torch.nn.Linear(2, 1)
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    bucket.put_file(str(tmp_path / "w.pth"), "bucket/w.pth")
    other = torch.nn.Linear(2, 1)
    DetectionCheckpointer(other).load("s3://bucket/w.pth")
    assert torch.equal(other.weight, model.weight)


@pytest.mark.parametrize("fault", ["503", "truncated", "timeout"])
def test_an_answer_that_fails_is_asked_for_again(bucket, server, fault):
    server.waiting = [fault, fault]
    assert read_image(KEY).shape == (10, 12, 3)
    assert server.num_gets == 3


def test_a_store_that_keeps_failing_is_named_and_leaves_nothing_in_the_cache(bucket, server):
    server.waiting = ["truncated"] * 20
    with pytest.raises(MissingFileError, match=r"a\.png cannot be reached after 4 attempts"):
        PathManager.get_local_path(KEY)
    assert not [path for path in cache_dir().rglob("*") if path.is_file()]


def test_a_file_that_is_not_there_is_not_asked_for_again(bucket, server):
    with pytest.raises(MissingFileError, match=r"s3://bucket/photos/b\.png is not in the store"):
        PathManager.get_local_path("s3://bucket/photos/b.png")
    assert PathManager.exists(KEY)
    assert PathManager.isfile(KEY)
    assert PathManager.isdir("s3://bucket/photos")
    assert PathManager.ls("s3://bucket/photos") == ["a.png"]
    assert not PathManager.exists("s3://bucket/photos/b.png")


def test_a_changed_file_is_noticed_once_a_process(bucket):
    labels = "s3://bucket/labels.json"
    before = PathManager.get_local_path(labels)
    bucket.pipe_file("bucket/labels.json", b"{}")
    with open(before, "rb") as file:
        assert file.read() != b"{}"
    process = multiprocessing.get_context("fork").Process(target=_read_again, args=(labels,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def _read_again(path):
    # A forked process has connections of its own.
    with open(PathManager.get_local_path(path), "rb") as file:
        os._exit(0 if file.read() == b"{}" else 1)


def test_files_that_were_not_used_for_long_leave_a_full_cache(bucket, monkeypatch):
    monkeypatch.setattr(object_store, "_KEEP_S", 0.0)
    monkeypatch.setenv("D2LITE_OBJECT_CACHE_GIB", str(2500 / 2**30))
    places = []
    for number in range(5):
        bucket.pipe_file(f"bucket/{number}.bin", b"x" * 1000)
        places.append(PathManager.get_local_path(f"s3://bucket/{number}.bin"))
        os.utime(places[-1], (number, number))
    assert [os.path.exists(place) for place in places] == [False, False, False, True, True]
    # One that is gone is fetched again.
    with PathManager.open("s3://bucket/0.bin", "rb") as file:
        assert len(file.read()) == 1000


def test_mistakes_are_explained(bucket, monkeypatch):
    monkeypatch.setenv("D2LITE_OBJECT_CACHE_GIB", "much")
    with pytest.raises(ConfigError, match="not a number of GiB"):
        PathManager.get_local_path(KEY)
    monkeypatch.setattr("fsspec.core.url_to_fs", _lacking)
    with pytest.raises(MissingPackageError, match=r"d2lite\[stores\]"):
        PathManager.get_local_path("gs://bucket/a.png")


def _lacking(path):
    raise ImportError("Please install gcsfs")


def test_a_file_is_written_to_a_bucket(bucket, tmp_path):
    with PathManager.open("s3://bucket/new.txt", "w") as file:
        file.write("hello")
    assert bucket.cat_file("bucket/new.txt") == b"hello"
    (tmp_path / "local").write_text("there")
    assert PathManager.copy_from_local(str(tmp_path / "local"), "s3://bucket/copy.txt")
    assert bucket.cat_file("bucket/copy.txt") == b"there"
    PathManager.rm("s3://bucket/copy.txt")
    assert not bucket.exists("bucket/copy.txt")
