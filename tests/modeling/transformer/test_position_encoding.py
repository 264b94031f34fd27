"""Positions of cells against their formulas, cell by cell."""

import math

import numpy as np
import pytest
import torch

from d2lite.modeling.transformer import cell_centers, sine_box_encoding, sine_position_encoding


def test_each_channel_is_a_wave_of_the_row_or_the_column():
    height, width, channels = 3, 5, 12
    found = sine_position_encoding(height, width, channels)
    assert found.shape == (channels, height, width)
    for y in range(height):
        for x in range(width):
            for half, angle in enumerate([(y + 1) / height, (x + 1) / width]):
                for k in range(channels // 4):
                    phase = 2 * math.pi * angle / 10000 ** (4 * k / channels)
                    at = half * channels // 2 + 2 * k
                    assert found[at, y, x] == pytest.approx(math.sin(phase), abs=1e-5)
                    assert found[at + 1, y, x] == pytest.approx(math.cos(phase), abs=1e-5)


def test_channels_that_do_not_divide_into_waves_are_refused():
    with pytest.raises(ValueError, match="10 channels; give a multiple of 4"):
        sine_position_encoding(2, 2, 10)


def test_centres_are_half_a_cell_from_the_border_row_by_row():
    expected = [
        [0.25, 1 / 6],
        [0.75, 1 / 6],
        [0.25, 0.5],
        [0.75, 0.5],
        [0.25, 5 / 6],
        [0.75, 5 / 6],
    ]
    torch.testing.assert_close(cell_centers(3, 2), torch.tensor(expected))


def test_numbers_of_a_box_become_waves_of_their_own():
    """The sine of 2 pi x over temperature^(2k / channels), and the cosine after it."""
    boxes = torch.rand(2, 3, 4)
    found = sine_box_encoding(boxes, 6, temperature=20.0)
    assert found.shape == (2, 3, 24)
    for number in range(4):
        for wave in range(3):
            angle = 2 * np.pi * boxes[..., number].numpy() / 20.0 ** (2 * wave / 6)
            first = 6 * number + 2 * wave
            np.testing.assert_allclose(found[..., first].numpy(), np.sin(angle), atol=1e-5)
            np.testing.assert_allclose(found[..., first + 1].numpy(), np.cos(angle), atol=1e-5)


def test_an_offset_moves_the_places_of_cells():
    """With -0.5 the first of two rows is at a quarter of the circle."""
    found = sine_position_encoding(2, 1, 4, offset=-0.5)
    np.testing.assert_allclose(
        found[0, :, 0].numpy(), np.sin([np.pi / 2, 3 * np.pi / 2]), atol=1e-5
    )
