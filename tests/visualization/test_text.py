import numpy as np

from d2lite.visualization.text import overlap_area, place_label, render_text

PICTURE = (100, 200)


def test_label_stands_on_top_of_its_box_where_there_is_room():
    assert place_label((10, 40), [20, 50, 90, 90], PICTURE, []) == (20, 40, 60, 50)


def test_label_of_a_box_at_the_border_stays_in_the_picture():
    for box in ([0, 0, 50, 50], [180, 0, 200, 10], [-5, 95, 9, 120]):
        x0, y0, x1, y1 = place_label((10, 40), box, PICTURE, [])
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= PICTURE[1]
        assert y1 <= PICTURE[0]


def test_labels_of_equal_boxes_do_not_cover_each_other():
    taken = []
    for _ in range(5):
        rect = place_label((10, 40), [20, 30, 120, 90], PICTURE, taken)
        assert overlap_area(rect, taken) == 0
        taken.append(rect)


def test_label_larger_than_the_picture_starts_at_its_corner():
    assert place_label((10, 400), [20, 30, 120, 90], PICTURE, [])[:2] == (0, 20)


def test_texts_of_one_size_have_one_height():
    """Plates of labels with and without long letters stand on one line."""
    assert render_text("ace", 14).shape[0] == render_text("gÂ|", 14).shape[0]


def test_text_has_ink_and_lines_follow_each_other():
    one, two = render_text("person", 16), render_text("person\n98%", 16)
    assert one.max() > 0.9
    assert two.shape[0] == 2 * one.shape[0]
    assert np.array_equal(two[: one.shape[0], : one.shape[1]], one)


def test_empty_text_is_no_crash():
    assert render_text("", 12).max() == 0
