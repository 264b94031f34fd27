import builtins
import os

import numpy as np
import pytest
from PIL import Image

from d2lite.utils.errors import OutputError
from d2lite.visualization import VisImage, write_picture
from d2lite.visualization.opencv import load_cv2

RED = (1.0, 0.0, 0.0)


def _grey(height=40, width=60):
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_drawing_leaves_the_given_picture_alone():
    picture = _grey()
    canvas = VisImage(picture)
    canvas.draw_rectangle(np.array([5, 5, 20, 20]), RED, 2)
    assert (picture == 128).all()
    assert (canvas.get_image() != 128).any()


def test_rectangle_of_one_pixel_width_covers_exactly_its_border_pixels():
    """Coordinates are continuous: the box 5..20 consists of the pixels 5 to 19."""
    canvas = VisImage(_grey())
    canvas.draw_rectangle(np.array([5, 6, 20, 16]), RED, 1)
    is_red = (canvas.get_image() == [255, 0, 0]).all(axis=2)
    expected = np.zeros((40, 60), dtype=bool)
    expected[6:16, 5:20] = True
    expected[7:15, 6:19] = False
    assert np.array_equal(is_red, expected)


def test_rectangle_of_the_whole_picture_shows_all_its_sides():
    canvas = VisImage(_grey())
    canvas.draw_rectangle(np.array([-3, 0, 60, 44]), RED, 1)
    image = canvas.get_image()
    for side in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (side == [255, 0, 0]).all()


def test_scale_makes_the_canvas_and_what_is_drawn_larger():
    canvas = VisImage(_grey(), scale=2.0)
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 10:30] = True
    canvas.fill_mask(mask, RED, 1.0)
    image = canvas.get_image()
    assert image.shape == (80, 120, 3)
    assert (image[24:36, 24:56] == [255, 0, 0]).all()
    assert (image[:18] == 128).all()


def test_mask_is_blended_by_its_opacity():
    canvas = VisImage(_grey())
    mask = np.zeros((40, 60), dtype=np.float32)
    mask[3, 4] = 0.5
    canvas.fill_mask(mask, RED, 0.5)
    # a quarter of the way from 128 to 255 and to 0
    assert canvas.get_image()[3, 4].tolist() == pytest.approx([160, 96, 96], abs=1)


def test_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="does not fit a picture"):
        VisImage(_grey()).fill_mask(np.zeros((4, 4)), RED, 1.0)


def test_polygon_covers_what_it_encloses():
    canvas = VisImage(_grey())
    canvas.fill_polygon(np.array([[10, 10], [30, 10], [30, 20], [10, 20]]), RED, 1.0)
    assert (canvas.get_image()[11:19, 11:29] == [255, 0, 0]).all()


def test_dashed_line_has_gaps():
    canvas = VisImage(_grey(), scale=1.0)
    canvas.draw_polyline(np.array([[0, 20.5], [60, 20.5]]), RED, 1, dashed=True)
    is_drawn = canvas.get_image()[20, :, 0] > 200
    assert 0.5 < is_drawn.mean() < 0.9


def test_a_name_that_is_not_utf8_does_not_crash(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.png")
    write_picture(path, np.zeros((4, 5, 3), np.uint8))
    assert path.stat().st_size


def test_saved_picture_is_red_where_it_was_drawn_red(tmp_path):
    """OpenCV writes blue, green, red."""
    canvas = VisImage(_grey())
    canvas.fill_mask(np.ones((40, 60)), RED, 1.0)
    canvas.save(tmp_path / "new folder" / "a.png")
    assert np.asarray(Image.open(tmp_path / "new folder" / "a.png"))[0, 0].tolist() == [255, 0, 0]


def test_unknown_ending_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"\.nope.*Use \.jpg or \.png"):
        VisImage(_grey()).save(tmp_path / "a.nope")


def test_folder_in_the_way_is_told(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match=r"a\.png"):
        VisImage(_grey()).save(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(3, 40, 60), (40,), (0, 60, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="has shape"):
        VisImage(np.zeros(shape, dtype=np.uint8))


def test_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        VisImage(_grey(), scale=0)


def test_float_pictures_are_taken_as_0_to_255():
    assert VisImage(np.full((4, 4, 3), 300.0)).get_image().max() == 255


def test_missing_opencv_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"libGL.*opencv-python-headless"):
        load_cv2()


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grey_picture_is_shown_in_grey(shape):
    image = VisImage(np.full(shape, 77, np.uint8)).get_image()
    assert image.shape == (4, 6, 3)
    assert (image == 77).all()
