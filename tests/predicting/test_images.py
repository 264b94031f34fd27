import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.predicting.images import as_image
from d2lite.utils.errors import DataError, InputTypeError

RED = np.tile(np.array([200, 40, 10], np.uint8), (4, 6, 1))  # in RGB


@pytest.mark.parametrize("model_format", ["BGR", "RGB"])
def test_every_kind_of_input_gives_the_same_pixels(tmp_path, model_format):
    path = tmp_path / "red.png"
    Image.fromarray(RED).save(path)
    tensor = torch.as_tensor(RED).permute(2, 0, 1)
    alpha = np.dstack([RED, np.full((4, 6), 7, np.uint8)])
    expected = RED if model_format == "RGB" else RED[:, :, ::-1]
    inputs = [
        path,
        str(path),
        Image.fromarray(RED),
        Image.fromarray(alpha),
        RED[:, :, ::-1],
        np.dstack([RED[:, :, ::-1], alpha[:, :, 3]]),
        RED[:, :, ::-1].astype(np.uint16) << 8,
        RED[:, :, ::-1].astype(np.int64),
        RED[:, :, ::-1] / np.float32(255),
        tensor,
        tensor.float() / 255,
        tensor.float(),
        tensor.bfloat16(),
        tensor[None],
    ]
    for value in inputs:
        np.testing.assert_array_equal(as_image(value, model_format), expected)


def test_arrays_are_rgb_where_that_is_said():
    np.testing.assert_array_equal(as_image(RED, "RGB", array_format="RGB"), RED)


def test_grey_images_have_three_equal_channels():
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)
    kinds = [grey, grey[:, :, None], Image.fromarray(grey), torch.as_tensor(grey)]
    for value in [*kinds, torch.as_tensor(grey)[None], grey.astype(np.uint16) << 8]:
        image = as_image(value, "BGR")
        assert image.shape == (4, 6, 3)
        assert (image == grey[:, :, None]).all()


def test_exif_orientation_is_followed_in_files_and_in_pillow_images(tmp_path):
    image = Image.fromarray(RED)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    assert as_image(path, "BGR").shape == (6, 4, 3)
    with Image.open(path) as opened:
        assert as_image(opened, "BGR").shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 6, 2), np.uint8), r"shape \(4, 6, 2\)"),
        (np.zeros((0, 6, 3), np.uint8), "is not an image"),
        (np.full((4, 6, 3), -1.5), "from -1.5 to -1.5"),
        (np.full((4, 6, 3), np.nan), "within"),
        (np.zeros((4, 6, 3), complex), "real numbers, not complex128"),
        (np.array([[object()]]), "real numbers, not object"),
        (torch.zeros(40, 60, 3), "permute"),
    ],
)
def test_what_is_not_an_image_is_refused_with_its_shape_or_values(value, message):
    with pytest.raises(DataError, match=message):
        as_image(value, "BGR")


def test_missing_image_names_what_opencv_returns():
    with pytest.raises(InputTypeError, match=r"NoneType.*cv2\.imread returns None"):
        as_image(None, "BGR")
