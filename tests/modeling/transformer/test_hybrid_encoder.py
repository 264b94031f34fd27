"""The hybrid encoder: shapes, folded convolutions, and cells of the padding."""

import pytest
import torch

from d2lite.modeling.transformer import HybridEncoder, grid_position_encoding, top_queries
from d2lite.modeling.transformer.rep_blocks import RepVGGBlock

MAPS = [torch.randn(2, 8, 8, 12), torch.randn(2, 12, 4, 6), torch.randn(2, 16, 2, 3)]


def _encoder(**options):
    return HybridEncoder([8, 12, 16], 16, heads=2, hidden=24, **options)


@pytest.mark.parametrize("blocks", ["csp", "elan"])
def test_maps_keep_their_sizes(blocks):
    found = _encoder(blocks=blocks, expansion=0.5, depth=0.34)(MAPS)
    assert [tuple(level.shape) for level in found] == [(2, 16, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]


def test_unknown_blocks_are_refused():
    with pytest.raises(ValueError, match="BLOCKS='dense'"):
        _encoder(blocks="dense")


def test_attention_does_not_see_hidden_cells():
    encoder = _encoder().eval()
    hidden = [torch.zeros(2, *level.shape[-2:], dtype=torch.bool) for level in MAPS]
    hidden[2][:, :, 2] = True
    changed = MAPS[2].clone()
    changed[:, :, :, 2] += 5
    layer = encoder.encoder[0]["layers"][0]
    waves = grid_position_encoding(2, 3, 16)
    cells = [
        encoder.input_proj[2]["conv"](level).flatten(2).transpose(1, 2)
        for level in (MAPS[2], changed)
    ]
    first, second = (layer(x, waves, hidden[2].flatten(1)) for x in cells)
    seen = ~hidden[2][0].flatten()
    torch.testing.assert_close(first[:, seen], second[:, seen])


def test_one_convolution_in_prediction_is_the_sum_of_both_branches():
    block = RepVGGBlock(6)
    x = torch.randn(2, 6, 5, 7)
    for _ in range(3):
        block(torch.randn(4, 6, 5, 7))
    block.eval()
    expected = torch.nn.functional.silu(block.conv1(x) + block.conv2(x))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_positions_are_waves_of_row_and_column():
    found = grid_position_encoding(2, 3, 8)
    row, column = torch.tensor(1.0), torch.tensor(2.0)
    angles = torch.tensor([1.0, 10000.0**-0.5])
    expected = [part for x in (row, column) for part in ((x * angles).sin(), (x * angles).cos())]
    torch.testing.assert_close(found[5], torch.cat(expected))
    with pytest.raises(ValueError, match="multiple of 4"):
        grid_position_encoding(2, 3, 6)


def test_best_pairs_come_from_all_queries_and_classes_together():
    logits = torch.tensor([[[3.0, 2.0], [0.0, 1.0]]])
    scores, classes, queries = top_queries(logits, 3)
    assert classes.tolist() == [[0, 1, 1]]
    assert queries.tolist() == [[0, 0, 1]]
    torch.testing.assert_close(scores, torch.tensor([[3.0, 2.0, 1.0]]).sigmoid())


def test_fewer_pairs_than_asked_for_give_all():
    assert top_queries(torch.zeros(1, 2, 1), 100)[0].shape == (1, 2)
    assert top_queries(torch.zeros(1, 0, 3), 100)[0].shape == (1, 0)
