"""Encoded maps of padded batches, and their form as maps."""

import pytest
import torch

from d2lite.modeling.transformer import DeformableEncoder, Memory, visible_cells
from d2lite.structures import ImageList

CHANNELS = 8


def _encoder() -> DeformableEncoder:
    torch.manual_seed(0)
    encoder = DeformableEncoder(
        CHANNELS, 2, 2, hidden=12, dropout=0.0, heads=2, points=2, offset=-0.5
    )
    encoder.reset_parameters()
    return encoder.eval()


def test_cells_of_an_image_do_not_depend_on_its_padding():
    """An image of a padded batch gives what it gives alone."""
    encoder = _encoder()
    maps = [torch.randn(1, CHANNELS, 4, 6), torch.randn(1, CHANNELS, 2, 3)]
    alone = encoder(maps).maps()
    # As wide as in the batch, whose other image is twice as high.
    padded = [torch.cat([level, torch.randn_like(level)], dim=2) for level in maps]
    images = ImageList(torch.zeros(1, 3, 64, 48), [(32, 48)])
    memory = encoder(padded, images)
    for level, own in zip(memory.maps(), alone, strict=True):
        torch.testing.assert_close(level[:, :, : own.shape[2]], own)
    assert memory.hidden.sum() == 4 * 6 + 2 * 3
    boxes, usable = memory.cell_boxes()
    assert not (usable & memory.hidden).any()
    # The lowest row of the image, in shares of the image and not of the batch.
    assert boxes[0, 3 * 6, 1] == pytest.approx(3.5 / 4)


def test_maps_of_a_memory_are_the_maps_that_its_cells_come_from():
    maps = [torch.randn(2, CHANNELS, 3, 5), torch.randn(2, CHANNELS, 2, 1)]
    cells = torch.cat([level.flatten(2).mT for level in maps], dim=1)
    for found, level in zip(Memory(cells, [(3, 5), (2, 1)]).maps(), maps, strict=True):
        torch.testing.assert_close(found, level, rtol=0, atol=0)


def test_cell_that_begins_inside_an_image_is_visible():
    images = ImageList(torch.zeros(2, 3, 64, 48), [(33, 48), (64, 1)])
    assert visible_cells(images, (4, 3)).tolist() == [[3, 3], [4, 1]]
    assert visible_cells(ImageList(images.tensor, [(64, 48)] * 2), (4, 3)) is None
