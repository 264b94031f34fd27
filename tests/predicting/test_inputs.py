import io

import numpy as np
import pytest
from PIL import Image

from d2lite.data.images.image_io import read_image
from d2lite.predicting.inputs import find_inputs
from d2lite.utils.errors import DataError, MissingFileError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "c.txt", "clip.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.jpg").write_bytes(b"x")
    return tmp_path


def names(*words, **more) -> list[str]:
    return [one.name for one in find_inputs([str(word) for word in words], **more)]


def test_folder_gives_its_images_and_videos_in_order(folder):
    assert names(folder) == [str(folder / name) for name in ("a.PNG", "b.jpg", "clip.mp4")]
    assert [one.is_video for one in find_inputs([str(folder)])] == [False, False, True]


def test_an_empty_word_is_not_the_working_folder():
    with pytest.raises(MissingFileError, match="empty word"):
        names("")


def test_globs_files_addresses_and_cameras(folder):
    assert names(folder / "**/*.jpg") == [str(folder / "b.jpg"), str(folder / "sub/d.jpg")]
    assert names(folder / "c.txt") == [str(folder / "c.txt")]
    address, camera = find_inputs(["https://example.org/a/clip.mp4?x=1", "0"])
    assert address.is_video
    assert not address.is_camera
    assert camera.is_camera


def test_name_of_a_dataset_gives_its_images():
    found = names("shapes://val/3", "shapes_val")
    assert found[0] == "shapes://val/3"
    assert len(found) > 10
    assert all(name.startswith("shapes://val/") for name in found)


def test_standard_input_is_a_list_of_paths(folder):
    stream = io.BytesIO(b"one.jpg\n\n two words.png \r\nclip.mp4\n")
    found = find_inputs(["-"], stdin=stream)
    assert [one.name for one in found] == ["one.jpg", "two words.png", "clip.mp4"]
    assert found[-1].is_video


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_standard_input_is_one_image(kind):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **({"lossless": True} if kind == "WEBP" else {}))
    (found,) = find_inputs(["-"], stdin=io.BytesIO(stream.getvalue()))
    np.testing.assert_array_equal(read_image(found.name, "RGB"), pixels)


def test_what_means_nothing_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere: there is no such file"):
        find_inputs([str(tmp_path / "nowhere")])
    with pytest.raises(MissingFileError, match=r"no images .* directly in this folder\.$"):
        find_inputs([str(tmp_path)])
    with pytest.raises(MissingFileError, match="neither an image nor any path"):
        find_inputs(["-"], stdin=io.BytesIO(b"\n"))
    with pytest.raises(DataError, match="cannot decode"):
        find_inputs(["-"], stdin=io.BytesIO(b"\x89PNG and nothing more"))


def test_a_folder_with_images_only_further_down_says_where_they_are(tmp_path):
    for name in ("train/a.jpg", "train/b.JPG", "test/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(MissingFileError) as caught:
        find_inputs([str(tmp_path)])
    train, test = tmp_path / "train", tmp_path / "test"
    assert f"Give {train} (images: 2) or {test} (images: 1)" in str(caught.value)
    assert len(find_inputs([str(train)])) == 2


def test_images_in_one_folder_below_are_those_of_the_folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("images/b.jpg", "images/a.jpg", "labels.json"):
        (tmp_path / name).touch()
    assert names(tmp_path) == [str(tmp_path / "images" / name) for name in ("a.jpg", "b.jpg")]


def test_network_cameras_are_videos():
    assert find_inputs(["rtsp://10.0.0.7/stream1"])[0].is_video
