"""wds:SHARDS: images in tar archives, indexed once, read from their place, resumed exactly."""

import io
import itertools
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import build_detection_train_loader, get_detection_dataset_dicts
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager
from d2lite.utils.tar_members import member_address


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def picture(number, height=20, width=30):
    stream = io.BytesIO()
    pixels = np.full((height, width, 3), number, dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def labels(number, **more):
    box = [1.0, 2.0, 10.0, 8.0]
    one = {"category": "cat" if number % 2 else "dog", "bbox": box}
    mask = {"segmentation": [[1, 2, 11, 2, 11, 10]], "iscrowd": 0}
    return json.dumps({"annotations": [{**one, **mask}], **more}).encode()


@pytest.fixture
def shards(tmp_path):
    """Three archives of four images; every second JSON file leaves the size to the image."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        with tarfile.open(folder / f"train-{shard:04d}.tar", "w") as archive:
            for place in range(4):
                number = 4 * shard + place
                size = {"height": 20, "width": 30} if number % 2 else {}
                add(archive, f"part/{number:03d}.json", labels(number, **size))
                add(archive, f"part/{number:03d}.png", picture(number))
    return folder


@pytest.mark.parametrize("form", ["wds:{}", "wds:{}/train-{{0000..0002}}.tar"])
def test_all_images_of_all_shards_are_read_with_their_objects(shards, form):
    records = get_detection_dataset_dicts(form.format(shards))
    assert len(records) == 12
    for number, record in enumerate(records):
        assert read_image(record["file_name"])[0, 0, 0] == number
        assert (record["height"], record["width"]) == (20, 30)
        (found,) = record["annotations"]
        assert found["bbox"] == [1, 2, 11, 10]
        assert found["category_id"] == (0 if number % 2 else 1)  # cat, dog
        assert len(found["segmentation"]) == 1


def test_one_archive_and_a_subset_are_named_like_other_datasets(shards):
    assert len(get_detection_dataset_dicts(f"wds:{shards}/train-0001.tar")) == 4
    assert len(get_detection_dataset_dicts(f"wds:{shards}?fraction=0.5&seed=1")) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stream_goes_on_bit_for_bit(shards, workers):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (f"wds:{shards}",)
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (16, 24)
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.SEED = 7

    def batches(first, count):
        loader = build_detection_train_loader(cfg)
        loader.seek(first)
        return list(itertools.islice(loader, count))

    whole, rest = batches(0, 9), batches(5, 4)
    for one, same in zip(itertools.chain(*whole[5:]), itertools.chain(*rest), strict=True):
        assert one["file_name"] == same["file_name"]
        assert one["image"].equal(same["image"])


NAMELESS = b'{"annotations": [{"bbox": [1, 2, 3, 4]}]}'


@pytest.mark.parametrize(
    ("content", "image", "why"),
    [
        (None, picture(1), "there is no JSON file of its name with an object"),
        (b"{", picture(1), "is not JSON"),
        (b"[]", picture(1), "there is no JSON file"),
        (NAMELESS, picture(1), "KeyError: 'category'"),
        (b'{"annotations": []}', b"not an image", "UnidentifiedImageError"),
        (b'{"height": null, "width": 3}', picture(1), "TypeError"),
    ],
)
def test_what_cannot_be_used_is_named_and_the_rest_stays(tmp_path, caplog, content, image, why):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "good.json", labels(0))
        add(archive, "good.png", picture(0))
        if content is not None:
            add(archive, "bad.json", content)
        add(archive, "bad.png", image)
        add(archive, "notes.txt", b"")
    assert len(get_detection_dataset_dicts(f"wds:{tmp_path}/a.tar")) == 1
    assert "1 x annotation file" in caplog.text
    assert f"bad.png ({why}" in caplog.text.replace("bad.json is", "is")


def test_mistakes_are_explained(tmp_path, shards):
    with pytest.raises(MissingFileError, match=r"has no \.tar file"):
        get_detection_dataset_dicts(f"wds:{tmp_path}")
    with tarfile.open(tmp_path / "b.tar", "w:gz") as archive:
        add(archive, "a.json", labels(0))
    with pytest.raises(DataError, match="not a whole, uncompressed tar archive"):
        get_detection_dataset_dicts(f"wds:{tmp_path}/b.tar")
    with pytest.raises(MissingFileError, match="train-0003"):
        get_detection_dataset_dicts(f"wds:{shards}/train-{{0002..0003}}.tar")


def test_a_member_is_read_from_its_place_and_a_shorter_archive_is_noticed(tmp_path):
    path = tmp_path / "a#b.tar"
    path.write_bytes(b"0123456789")
    address = member_address(str(path), 3, 4, "x#1.jpg")
    with PathManager.open(address, "rb") as stream:
        assert stream.read() == b"3456"
    assert PathManager.exists(address)
    with pytest.raises(DataError, match="shorter than when it was indexed"):
        PathManager.open(member_address(str(path), 8, 4, "x.jpg"), "rb")
    with pytest.raises(ValueError, match="OFFSET"):
        PathManager.open("tar://nothing", "rb")
