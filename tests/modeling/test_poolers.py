"""ROIPooler: levels, order, and that it pools what lies under the box."""

import math

import pytest
import torch

from d2lite.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from d2lite.structures import Boxes, RotatedBoxes
from d2lite.utils.errors import ConfigError

SCALES = [1 / 4, 1 / 8, 1 / 16]


def square(size):
    return [0.0, 0.0, size, size]


def ramps(scales=SCALES, num_images=2, size=256):
    """Maps whose values are the x, the y and the number of the image, in pixels."""
    maps = []
    for scale in scales:
        n = int(size * scale)
        at = (torch.arange(n) + 0.5) / scale
        x, y = at.expand(n, n), at[:, None].expand(n, n)
        maps.append(
            torch.stack(
                [torch.stack((x, y, torch.full((n, n), float(i)))) for i in range(num_images)]
            )
        )
    return maps


def test_a_box_of_the_canonical_size_is_at_home_and_double_size_is_one_coarser():
    sizes = [1.0, 55.9, 56.0, 111.9, 112.0, 223.9, 224.0, 448.0, 5000.0]
    levels = assign_boxes_to_levels([Boxes([square(s) for s in sizes])], 2, 5, 224, 4)
    want = [min(max(math.floor(4 + math.log2(s / 224) + 1e-6), 2), 5) - 2 for s in sizes]
    assert levels.tolist() == want
    assert levels.dtype == torch.int64


def test_boxes_of_no_size_go_to_the_finest_level():
    assert assign_boxes_to_levels([Boxes([square(0.0)])], 2, 5, 224, 4).tolist() == [0]


def test_each_box_carries_the_index_of_its_image():
    boxes = [Boxes([square(1.0)]), Boxes(torch.zeros(0, 4)), Boxes([square(2.0), square(3.0)])]
    rows = convert_boxes_to_pooler_format(boxes)
    assert rows[:, 0].tolist() == [0, 2, 2]
    assert rows[:, 3].tolist() == [1, 2, 3]


def test_every_cell_holds_the_centre_of_its_part_of_the_box():
    """On a linear ramp bilinear pooling is exact, whatever the level."""
    torch.manual_seed(0)
    low = torch.rand(12, 2) * 60 + 20
    boxes = torch.cat((low, low + torch.logspace(0.7, 2, 12)[:, None]), dim=1)
    per_image = [Boxes(boxes[0::2]), Boxes(boxes[1::2])]
    pooler = ROIPooler(2, SCALES, 0, "ROIAlignV2", canonical_box_size=32, canonical_level=3)
    out = pooler(ramps(), per_image)
    ordered = torch.cat((boxes[0::2], boxes[1::2]))
    quarter = (ordered[:, 2:] - ordered[:, :2]) / 4
    torch.testing.assert_close(out[:, 0, 0, 0], ordered[:, 0] + quarter[:, 0], rtol=1e-4, atol=0.01)
    torch.testing.assert_close(out[:, 1, 1, 0], ordered[:, 3] - quarter[:, 1], rtol=1e-4, atol=0.01)
    assert out[:, 2, 0, 0].tolist() == [0.0] * 6 + [1.0] * 6
    assert len(assign_boxes_to_levels(per_image, 2, 4, 32, 3).unique()) == 3


def test_a_batch_is_pooled_as_its_images_one_by_one():
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 64, 64), torch.randn(2, 3, 32, 32), torch.randn(2, 3, 16, 16)]
    low = torch.rand(8, 2) * 100
    boxes = Boxes(torch.cat((low, low + torch.rand(8, 2) * 150), dim=1))
    pooler = ROIPooler(3, SCALES, 2, "ROIAlign", canonical_box_size=64, canonical_level=3)
    together = pooler(maps, [boxes[:3], boxes[3:]])
    alone = [
        pooler([x[i : i + 1] for x in maps], [part])
        for i, part in enumerate((boxes[:3], boxes[3:]))
    ]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("scales", [SCALES, SCALES[:1]])
def test_no_boxes_give_no_features_but_a_gradient(scales):
    maps = [x.requires_grad_() for x in ramps(scales)]
    pooler = ROIPooler((2, 3), scales, 0, "ROIAlignV2")
    out = pooler(maps, [Boxes(torch.zeros(0, 4))] * 2)
    assert out.shape == (0, 3, 2, 3)
    out.sum().backward()


@pytest.mark.parametrize("kind", ["ROIPool", "ROIAlign", "ROIAlignV2"])
def test_a_constant_map_pools_to_the_constant(kind):
    pooler = ROIPooler(2, [1 / 8], 0, kind)
    out = pooler([torch.full((1, 1, 16, 16), 3.0)], [Boxes([[10.0, 12.0, 60.0, 90.0]])])
    torch.testing.assert_close(out, torch.full((1, 1, 2, 2), 3.0))


def test_rotated_boxes_are_pooled_in_their_own_frame():
    pooler = ROIPooler(2, [1 / 4], 2, "ROIAlignRotated")
    upright = torch.tensor([[100.0, 80.0, 40.0, 20.0, 0.0]])
    turned = torch.tensor([[100.0, 80.0, 40.0, 20.0, 90.0]])
    maps = ramps([1 / 4], num_images=1)
    flat = pooler(maps, [RotatedBoxes(upright)])[0, :2]
    assert flat[:, 0, 0].tolist() == pytest.approx([90.0, 75.0], abs=0.01)
    stood = pooler(maps, [RotatedBoxes(turned)])[0, :2]
    # Anticlockwise by 90 degrees: what was left is at the bottom.
    assert stood[:, 0, 0].tolist() == pytest.approx([95.0, 90.0], abs=0.01)


def test_unknown_types_and_strides_that_do_not_double_are_refused():
    with pytest.raises(ConfigError, match=r"'Mean'.*ROIAlignV2"):
        ROIPooler(2, [1 / 4], 0, "Mean")
    with pytest.raises(ConfigError, match="powers of 2"):
        ROIPooler(2, [1 / 4, 1 / 16], 0, "ROIAlignV2")
    with pytest.raises(ConfigError, match="powers of 2"):
        ROIPooler(2, [1 / 12], 0, "ROIAlignV2")


def test_boxes_of_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="boxes of 1 images"):
        ROIPooler(2, SCALES, 0, "ROIAlignV2")(ramps(), [Boxes(torch.zeros(0, 4))])
