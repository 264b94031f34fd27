import numpy as np
import pytest

from d2lite.visualization.colormap import (
    class_color,
    colormap,
    contrast_color,
    parse_color,
    random_color,
    random_colors,
    shade,
)


def test_rows_are_red_green_blue_or_the_other_way_round():
    table = colormap(rgb=True)
    assert table.shape[1] == 3
    assert np.array_equal(table[:, ::-1], colormap(rgb=False))
    np.testing.assert_allclose(table / 255, colormap(rgb=True, maximum=1))


def test_other_ranges_are_refused():
    with pytest.raises(ValueError, match="use 255 or 1"):
        colormap(maximum=100)


def test_first_twenty_colours_are_far_from_each_other():
    table = colormap(rgb=True, maximum=1)[:20]
    distance = np.linalg.norm(table[:, None] - table[None], axis=2) + 9 * np.eye(20)
    assert distance.min() > 0.15


def test_colour_of_a_class_never_changes():
    """Pictures of two runs can be laid beside each other."""
    assert class_color(3) == class_color(3)
    assert class_color(3) != class_color(4)
    assert class_color(3 + len(colormap())) == class_color(3)


def test_random_colours_repeat_only_when_all_have_come():
    many = random_colors(len(colormap()) + 2, rgb=True, maximum=1)
    assert len({tuple(c) for c in many[:-2]}) == len({tuple(c) for c in colormap()})
    assert tuple(random_color(rgb=True)) in {tuple(c) for c in colormap(rgb=True)}


def test_shades_of_a_colour_differ_and_the_first_is_itself():
    shades = [shade((0.2, 0.6, 0.9), i) for i in range(5)]
    assert shades[0] == pytest.approx((0.2, 0.6, 0.9))
    assert len(set(shades)) == 5


def test_text_is_black_on_bright_and_white_on_dark():
    assert contrast_color((1.0, 1.0, 0.2)) == (0, 0, 0)
    assert contrast_color((0.1, 0.1, 0.6)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("w", (1, 1, 1)),
        ("#ff0000", (1, 0, 0)),
        ("#f00", (1, 0, 0)),
        ("navy", (0, 0, 128 / 255)),
        ("tab:orange", (1, 127 / 255, 14 / 255)),
        ("C1", (1, 127 / 255, 14 / 255)),
        ("0.5", (0.5, 0.5, 0.5)),
        ([0, 0.5, 1, 0.3], (0, 0.5, 1)),
    ],
)
def test_colours_are_read_as_people_write_them(given, expected):
    assert parse_color(given) == expected


@pytest.mark.parametrize("given", ["rosso", "#12", "#gggggg", (1, 2), (255, 0, 0)])
def test_what_is_no_colour_is_refused(given):
    with pytest.raises(ValueError, match="colour"):
        parse_color(given)
