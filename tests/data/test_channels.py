"""Images of other channels than three: arrays, TIFFs of many bands, and the names of channels."""

import struct

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog
from d2lite.data.checking import check_image
from d2lite.data.images.channels import is_channel_list
from d2lite.data.images.image_io import convert_image_to_rgb, read_image
from d2lite.utils.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("own_folders")


def bands(count, dtype=np.uint8, h=4, w=6):
    """(h, w, count), no two numbers alike in a pixel."""
    values = np.arange(h * w * count).reshape(h, w, count)
    return (values * (200 if dtype == np.uint16 else 1)).astype(dtype)


def tiff(path, pixels, orientation=1):
    """An uncompressed TIFF of any number of bands, written by hand: Pillow has no more than 4."""
    h, w, count = pixels.shape
    kind = {"u": 1, "f": 3}[pixels.dtype.kind]
    bits, data = pixels.dtype.itemsize * 8, pixels.tobytes()
    numbers = {256: w, 257: h, 258: [bits] * count, 259: 1, 262: 1, 273: 8, 274: orientation,
               277: count, 278: h, 279: len(data), 284: 1, 339: [kind] * count}  # fmt: skip
    place = 8 + len(data) + len(data) % 2
    behind = place + 2 + 12 * len(numbers) + 4
    entries, tail = b"", b""
    for tag, value in numbers.items():
        many = value if isinstance(value, list) else [value]
        raw = struct.pack(f"<{len(many)}H", *many)
        if len(raw) > 4:
            raw, tail = struct.pack("<I", behind + len(tail)), tail + raw
        entries += struct.pack("<HHI", tag, 3, len(many)) + raw.ljust(4, b"\0")
    head = struct.pack("<2sHI", b"II", 42, place) + data.ljust(place - 8, b"\0")
    path.write_bytes(head + struct.pack("<H", len(numbers)) + entries + bytes(4) + tail)
    return str(path)


def npy(path, array):
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize(
    ("format", "answer"),
    [
        ("RGBN", True), ("NRG", True), ("BGRN", True), ("N", True), ("XX", True),
        ("RGB", False), ("BGR", False), ("L", False), ("RGBA", False), ("CMYK", False),
        ("YUV-BT.601", False), ("RBG", False), (None, False),
    ],
)  # fmt: skip
def test_a_list_of_channels_is_told_from_colour_spaces_and_typing_errors(format, answer):
    assert is_channel_list(format) == answer


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", ["npy", "tif"])
def test_all_channels_come_with_all_their_bits(tmp_path, kind, dtype):
    pixels = bands(5, dtype)
    if kind == "tif":
        pytest.importorskip("tifffile")
    path = (npy if kind == "npy" else tiff)(tmp_path / f"a.{kind}", pixels)
    read = read_image(path, "RGBNS")
    assert read.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(read_image(path), pixels)
    assert check_image({"file_name": path}).fault is None


@pytest.mark.parametrize(
    ("format", "order"),
    [("RGBN", [0, 1, 2, 3]), ("BGRN", [2, 1, 0, 3]), ("NBGR", [3, 2, 1, 0]), ("ABCD", range(4))],
)
def test_files_hold_red_green_and_blue_first(tmp_path, format, order):
    """So that BGR weights find their channels where they were."""
    path = npy(tmp_path / "a.npy", bands(4))
    np.testing.assert_array_equal(read_image(path, format), bands(4)[..., list(order)])


def test_common_files_give_their_own_channels(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png"), "RGBN"), rgba)
    with pytest.raises(DataError, match=r"a\.png has 4 channels.*'RGBNS' lists 5.*PIXEL_MEAN"):
        read_image(str(tmp_path / "a.png"), "RGBNS")
    grey = Image.fromarray(rgba[..., 0].astype(np.uint16) * 256)
    grey.save(tmp_path / "g.png")
    assert read_image(str(tmp_path / "g.png"), "N").max() > 255


def test_a_tiff_is_turned_as_its_tag_says(tmp_path):
    pytest.importorskip("tifffile")
    path = tiff(tmp_path / "a.tif", bands(5), orientation=6)
    np.testing.assert_array_equal(read_image(path, "ABCDE"), np.rot90(bands(5), -1))


def test_many_channels_can_be_read_and_shown_as_a_picture(tmp_path):
    """Drawing tools ask for RGB whatever the files hold."""
    path = npy(tmp_path / "a.npy", bands(4))
    np.testing.assert_array_equal(read_image(path, "RGB"), bands(4)[..., :3])
    np.testing.assert_array_equal(read_image(path, "BGR"), bands(4)[..., 2::-1])
    assert read_image(npy(tmp_path / "b.npy", bands(1)[..., 0]), "RGB").shape == (4, 6, 3)
    high = read_image(npy(tmp_path / "c.npy", bands(3, np.uint16)), "RGB")
    np.testing.assert_array_equal(high, bands(3, np.uint16) >> 8)
    shown = convert_image_to_rgb(bands(4)[..., [3, 2, 1, 0]], "NBGR")
    np.testing.assert_array_equal(shown, bands(4)[..., :3])
    assert convert_image_to_rgb(bands(2, np.float32) * 1000, "NS").max() == 255


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((2, 3, 4, 5)), "shape.*height, width, channels"),
        (np.array(["a"]), "height, width"),
        (np.array({"a": 1}, dtype=object), "not an array.*numpy.save"),
    ],
)
def test_arrays_that_are_no_image_are_told(tmp_path, array, why):
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=why):
        read_image(str(path), "RGBN")
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"a\.npy is not an array"):
        read_image(str(path), "RGBN")


def test_without_tifffile_the_mend_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    path = tiff(tmp_path / "a.tif", bands(5))
    with pytest.raises(DataError, match=r"pip install tifffile.*\.npy"):
        read_image(path, "RGBNS")


def test_a_folder_of_arrays_is_a_dataset(tmp_path):
    npy(tmp_path / "work" / "a.npy", bands(5, h=7, w=9))
    (record,) = DatasetCatalog.get(f"images:{tmp_path / 'work'}")
    assert (record["height"], record["width"]) == (7, 9)


def test_a_misspelt_colour_space_is_still_refused(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="one letter for each channel"):
        read_image(str(tmp_path / "a.png"), "RBG")
