"""Images of every kind come out upright, in the wanted channels, with Pillow's pixels."""

import io
import os

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageOps

from d2lite.data import detection_utils
from d2lite.data.images import image_io
from d2lite.data.images.image_io import (
    SizeMismatchError,
    check_image_size,
    convert_image_to_rgb,
    convert_PIL_to_numpy,
    read_image,
    register_image_source,
)
from d2lite.data.records.image_sizes import image_size
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from tests.shared_data import shared_data


def picture(h=21, w=34):
    """(h, w, 3) uint8 without symmetry."""
    y, x = np.mgrid[:h, :w]
    planes = [x * 255 / w, y * 255 / h, (x + 2 * y) * 255 / (w + 2 * h)]
    return np.stack(planes, axis=2).astype(np.uint8)


def saved(folder, image, name="image.png", **options):
    path = folder / name
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 5}])
def test_jpeg_pixels_equal_pillows(tmp_path, mode, options):
    path = saved(tmp_path, Image.fromarray(picture()).convert(mode), "image.jpg", **options)
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(read_image(path, "RGB"), expected)
    np.testing.assert_array_equal(read_image(path, "BGR"), expected[..., ::-1])


def test_photographs_decode_to_pillows_pixels():
    for path in sorted(shared_data("coco_tiny/val2017").glob("*.jpg"))[:10]:
        expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        np.testing.assert_array_equal(read_image(str(path), "RGB"), expected)


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_exif_orientations_come_out_upright(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(picture()), f"image.{kind}", exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = read_image(path, "RGB")
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(read_image(path, "L")[..., 0].shape, expected.shape[:2])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_lose_the_picture(tmp_path):
    path = saved(tmp_path, Image.fromarray(picture()), "image.jpg", exif=b"Exif\0\0II*\0garbage")
    assert read_image(path, "RGB").shape == (21, 34, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_becomes_eight_bit_colour(tmp_path, mode):
    if mode == "YCbCr" and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("this Pillow cannot read the TIFF of YCbCr that it writes")
    kind = "tif" if mode in ("CMYK", "YCbCr", "I", "F") else "png"
    grey = picture()[..., 0]
    if mode in ("I;16", "I"):
        values = grey.astype(np.uint16 if mode == "I;16" else np.int32) * 256
        image = Image.fromarray(values)
    else:
        image = Image.fromarray(picture()).convert(mode)
    path = saved(tmp_path, image, f"image.{kind}")
    pixels = read_image(path, "BGR")
    assert pixels.shape == (21, 34, 3)
    assert pixels.dtype == np.uint8
    assert read_image(path, "L").shape == (21, 34, 1)
    if mode in ("I;16", "I"):
        np.testing.assert_array_equal(pixels[..., 1], grey)


def test_a_transparent_palette_reads_its_colours_without_a_warning(tmp_path):
    image = Image.fromarray(picture()).quantize(8)
    path = saved(tmp_path, image, transparency=bytes([0, 100] + [255] * 6))
    np.testing.assert_array_equal(read_image(path, "RGB"), np.asarray(image.convert("RGB")))


def test_cmyk_jpegs_read_as_pillow_reads_them(tmp_path):
    path = saved(tmp_path, Image.fromarray(picture()).convert("CMYK"), "image.jpg")
    np.testing.assert_array_equal(
        read_image(path, "RGB"), np.asarray(Image.open(path).convert("RGB"))
    )
    assert read_image(path, "CMYK").shape == (21, 34, 4)


@pytest.mark.parametrize("name", ["with space.jpg", "Zürich 東京.jpg", "UPPER.JPG", "no_suffix"])
def test_odd_file_names_are_read(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(picture()), name, format="JPEG")
    assert read_image(path, "RGB").shape == (21, 34, 3)


@pytest.mark.parametrize("size", [(1, 1), (20000, 2), (2, 3000)])
@pytest.mark.parametrize("kind", ["jpg", "png", "bmp"])
def test_tiny_and_long_images_are_read(tmp_path, size, kind):
    path = saved(tmp_path, Image.new("RGB", size, (9, 9, 9)), f"image.{kind}")
    assert read_image(path, "BGR").shape == (size[1], size[0], 3)


def test_without_a_format_the_file_keeps_its_mode(tmp_path):
    path = saved(tmp_path, Image.fromarray(picture()[..., 0].astype(np.uint16) * 256))
    pixels = read_image(path)
    assert pixels.dtype == np.uint16
    assert pixels.shape == (21, 34)


def test_yuv_is_bt601_and_comes_back(tmp_path):
    path = saved(tmp_path, Image.fromarray(picture()))
    yuv = read_image(path, "YUV-BT.601")
    # Grey has no colour difference; Y is 0.299 R + 0.587 G + 0.114 B.
    np.testing.assert_allclose(yuv[..., 0], picture() @ [0.299, 0.587, 0.114] / 255, atol=1e-9)
    np.testing.assert_allclose(convert_image_to_rgb(yuv, "YUV-BT.601"), picture(), atol=1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere\.jpg"):
        read_image(str(tmp_path / "nowhere.jpg"), "RGB")


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.95])
def test_a_cut_off_image_is_named(tmp_path, kind, kept):
    content = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, {"jpg": "jpeg"}.get(kind, kind))
    data = content.getvalue()
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=rf"broken\.{kind}"):
        read_image(str(path), "BGR")


def test_a_text_file_and_a_folder_are_no_images(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"page\.jpg"):
        read_image(str(tmp_path / "page.jpg"), "RGB")
    with pytest.raises(DataError, match="Cannot read"):
        read_image(str(tmp_path), "RGB")


def test_an_image_too_large_for_pillow_says_what_to_raise(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(picture()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="MAX_IMAGE_PIXELS"):
        read_image(path, "RGB")


@pytest.mark.parametrize("name", ["image.jpg", "image.png"])
def test_an_unknown_format_names_the_key(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(picture()), name)
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT"):
        read_image(path, "RBG")


def test_a_registered_source_is_read_by_its_scheme(monkeypatch):
    monkeypatch.setattr(image_io, "_sources", {})
    register_image_source("drawn", lambda name: np.full((2, 3, 3), [int(name[-1]), 0, 9], np.uint8))
    assert read_image("drawn://train/7", "RGB")[0, 0].tolist() == [7, 0, 9]
    assert read_image("drawn://train/7", "BGR")[0, 0].tolist() == [9, 0, 7]
    assert read_image("drawn://train/7", "L").shape == (2, 3, 1)


@pytest.mark.parametrize("format", ["RGB", "BGR", "L", "RGBA", "CMYK", "HSV"])
def test_every_format_can_be_shown_as_rgb(format):
    pixels = convert_PIL_to_numpy(Image.fromarray(picture()), format)
    shown = convert_image_to_rgb(torch.from_numpy(pixels.copy()), format)
    assert shown.dtype == np.uint8
    if format == "L":
        assert (shown == pixels).all()
    else:
        np.testing.assert_allclose(shown.astype(int), picture(), atol=6)


def test_float_pixels_are_rounded_for_showing():
    shown = convert_image_to_rgb(torch.full((2, 2, 3), 300.0), "BGR")
    assert shown.dtype == np.uint8
    assert (shown == 255).all()


def test_size_check_notes_a_missing_size():
    sample = {"file_name": "a.jpg"}
    check_image_size(sample, picture())
    assert (sample["width"], sample["height"]) == (34, 21)


def test_size_check_names_image_and_both_sizes():
    sample = {"file_name": "a.jpg", "image_id": 5, "width": 21, "height": 34}
    with pytest.raises(SizeMismatchError, match=r"a\.jpg \(image_id 5\) is 34 .* 21 .* 21 by 34"):
        check_image_size(sample, picture())


def test_named_pipe_is_refused_at_once(tmp_path):
    path = tmp_path / "x.png"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"x\.png: it is a named pipe"):
        read_image(str(path))
    with pytest.raises(DataError, match="it is a named pipe"):
        image_size(path)


def test_file_of_great_length_is_refused_before_it_is_read(tmp_path):
    """A sparse file costs its author nothing and its reader all memory."""
    path = tmp_path / "x.png"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(DataError, match=r"has 1099511627776 bytes; at most"):
        read_image(str(path))


def test_mappers_that_open_images_themselves_can_turn_them_upright():
    image = Image.new("RGB", (4, 2))
    assert detection_utils._apply_exif_orientation(image) is image
    image.getexif()[0x0112] = 6
    assert detection_utils._apply_exif_orientation(image).size == (2, 4)


def test_postscript_is_not_run(tmp_path):
    path = saved(tmp_path, Image.fromarray(picture()), "image.eps")
    with pytest.raises(DataError, match="PostScript is a program"):
        read_image(path)


@pytest.mark.parametrize(
    ("address", "why"),
    [("http://[::1/a.png", "not an address"), ("http://127.0.0.1:1/a.png", "cannot be fetched")],
)
def test_an_address_that_gives_no_image_says_why(address, why, monkeypatch):
    monkeypatch.setattr("d2lite.utils.download.time.sleep", lambda seconds: None)
    with pytest.raises(MissingFileError, match=why):
        read_image(address)


def test_a_name_with_a_null_character_is_refused():
    with pytest.raises(DataError, match="null"):
        read_image("a\0.png")
