"""Anchors: where they lie, in which order, and that they are kept."""

import copy

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.anchor_generator import (
    DefaultAnchorGenerator,
    RotatedAnchorGenerator,
    build_anchor_generator,
)
from d2lite.utils.errors import ConfigError


def generator(**changes):
    options = {
        "sizes": [[32.0], [64.0]],
        "aspect_ratios": [[0.5, 1.0, 2.0]],
        "strides": [8, 16],
        "offset": 0.5,
    }
    return DefaultAnchorGenerator(**{**options, **changes})


def test_anchors_follow_the_definition_in_the_order_rows_columns_anchors():
    boxes = generator()([torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 2, 2)])
    want = []
    for y in range(3):
        for x in range(4):
            for ratio in (0.5, 1.0, 2.0):
                w = 32.0 / ratio**0.5
                h = 32.0 * ratio**0.5
                cx, cy = (x + 0.5) * 8, (y + 0.5) * 8
                want.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    torch.testing.assert_close(boxes[0].tensor, torch.tensor(want))
    assert len(boxes[1]) == 2 * 2 * 3


def test_areas_are_the_squares_of_the_sizes():
    cells = generator().generate_cell_anchors((10, 20), (0.3, 1.0, 3.0))
    sides = cells[:, 2:] - cells[:, :2]
    torch.testing.assert_close(sides.prod(1), torch.tensor([100.0] * 3 + [400.0] * 3))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.3, 1.0, 3.0] * 2))


def test_one_cell_further_is_one_stride_further():
    (boxes,) = generator(sizes=[32.0], strides=[8])([torch.zeros(1, 1, 5, 5)])
    grid = boxes.tensor.view(5, 5, 3, 4)
    right = torch.tensor([8.0, 0.0, 8.0, 0.0]).expand(5, 4, 3, 4)
    torch.testing.assert_close(grid[:, 1:] - grid[:, :-1], right)


def test_a_single_list_serves_all_levels():
    assert generator(sizes=[[8, 16]], aspect_ratios=[1.0]).num_anchors == [2, 2]
    assert generator(sizes=[8, 16]).num_cell_anchors == [6, 6]


def test_anchors_are_kept_for_a_size_and_not_copied_with_the_model():
    anchors = generator(strides=[8], sizes=[[32.0]])
    features = [torch.zeros(1, 1, 3, 4)]
    first, second = anchors(features)[0], anchors(features)[0]
    assert first.tensor.data_ptr() == second.tensor.data_ptr()
    first.clip((10, 10))
    assert anchors(features)[0].tensor.max() > 10
    for width in range(1, 40):
        assert len(anchors([torch.zeros(1, 1, 1, width)])[0]) == 3 * width
    assert len(anchors._cache) < 20
    assert not copy.deepcopy(anchors)._cache


def test_anchors_made_in_inference_mode_do_not_reach_training():
    anchors = generator(strides=[8], sizes=[[32.0]])
    features = [torch.zeros(1, 1, 3, 4)]
    with torch.inference_mode():
        anchors(features)
    weight = torch.ones(36, 4, requires_grad=True)
    (anchors(features)[0].tensor * weight).sum().backward()
    assert weight.grad is not None


def test_anchors_are_no_part_of_saved_weights():
    assert generator().state_dict() == {}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sizes": [[1.0], [2.0], [3.0]]}, "SIZES has 3 lists for 2"),
        ({"aspect_ratios": [[]]}, "ASPECT_RATIOS"),
        ({"offset": 1.0}, "OFFSET=1.0"),
    ],
)
def test_options_that_do_not_fit_the_levels_are_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        generator(**changes)


def test_another_number_of_maps_is_refused():
    with pytest.raises(ValueError, match=r"1 feature maps .* 2 levels"):
        generator()([torch.zeros(1, 1, 3, 4)])


def test_the_configuration_is_followed():
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    made = build_anchor_generator(cfg, [ShapeSpec(stride=4), ShapeSpec(stride=8)])
    assert made.strides == [4, 8]
    assert made.num_anchors == [3, 3]
    assert made.offset == 0.0
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    assert build_anchor_generator(cfg, [ShapeSpec(stride=4), ShapeSpec(stride=8)]).box_dim == 5


def test_rotated_anchors_have_every_angle_at_every_cell():
    made = RotatedAnchorGenerator(
        sizes=[8.0], aspect_ratios=[1.0, 4.0], angles=[-90, 0, 45], strides=[4], offset=0.5
    )
    (boxes,) = made([torch.zeros(1, 1, 2, 3)])
    grid = boxes.tensor.view(2, 3, 6, 5)
    assert made.num_anchors == [6]
    assert grid[1, 2, 0].tolist() == [10.0, 6.0, 8.0, 8.0, -90.0]
    assert grid[0, 0, 5].tolist() == [2.0, 2.0, 4.0, 16.0, 45.0]


def test_anchors_of_a_subclass_are_used():
    class Doubled(DefaultAnchorGenerator):
        def _calculate_anchors(self, sizes, aspect_ratios):
            assert (sizes, aspect_ratios) == ([[8.0]], [[1.0]])
            return super()._calculate_anchors([[16.0]], aspect_ratios)

        def _grid_anchors(self, grid_sizes):
            assert [tuple(size) for size in grid_sizes] == [(1, 2)]
            return [level + 100 for level in super()._grid_anchors(grid_sizes)]

    doubled = Doubled(sizes=[8.0], aspect_ratios=[1.0], strides=[4], offset=0.0)
    (boxes,) = doubled([torch.zeros(1, 1, 1, 2)])
    assert boxes.tensor.tolist() == [[92, 92, 108, 108], [96, 92, 112, 108]]


def test_subclass_may_set_all_parts_by_itself():
    class Own(DefaultAnchorGenerator):
        def __init__(self):
            super(DefaultAnchorGenerator, self).__init__()
            self.strides, self.num_features, self.offset = [4], 1, 0.0
            self.cell_anchors = self._calculate_anchors([[8.0]], [[1.0]])

    (boxes,) = Own()([torch.zeros(1, 1, 1, 2)])
    assert boxes.tensor.tolist() == [[-4, -4, 4, 4], [0, -4, 8, 4]]
