"""Points of boxes: where they are, what is there, and whose it is."""

import numpy as np
import pytest
import torch

from d2lite.projects.point_rend.point_features import (
    generate_regular_grid_point_coords,
    get_point_coords_wrt_image,
    point_sample_fine_grained_features,
    sample_point_labels,
    sample_rows,
)
from d2lite.structures import BitMasks, Boxes, Instances, PolygonMasks


def test_points_of_a_box_are_scaled_to_it():
    places = get_point_coords_wrt_image(
        torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[[0.0, 0.0], [0.5, 0.25], [1, 1]]])
    )
    assert places.tolist() == [[[10, 20], [20, 30], [30, 60]]]


def test_features_come_from_the_maps_of_the_boxes_own_image():
    """A map that holds x of each cell's centre, in pixels: what is sampled is the place itself."""
    x = (torch.arange(16.0) + 0.5) * 4
    maps = torch.stack([x.expand(8, 16), 1000 + x.expand(8, 16)])[:, None]
    fine = torch.stack([(torch.arange(64.0) + 0.5).expand(32, 64)] * 2)[:, None]
    boxes = [Boxes(torch.tensor([[8.0, 4, 40, 28]])), Boxes(torch.tensor([[4.0, 4, 20, 20]] * 2))]
    points = torch.rand(3, 5, 2)
    found, places = point_sample_fine_grained_features([maps, fine], [0.25, 1.0], boxes, points)
    assert found.shape == (3, 2, 5)
    torch.testing.assert_close(found[:, 1], places[..., 0])
    torch.testing.assert_close(found[0, 0], places[0, :, 0])
    torch.testing.assert_close(found[1:, 0], 1000 + places[1:, :, 0])


def test_rows_of_all_images_have_the_features_of_the_boxes_of_each():
    """Boxes at the borders read zeros there, and not what another image has."""
    maps = [torch.rand(3, 4, 8, 10), torch.rand(3, 2, 4, 5)]
    scales = [0.25, 0.125]
    of_images = [
        torch.tensor([[0.0, 0, 40, 32], [3, 20, 22, 32]]),
        torch.tensor([[0.0, 0, 5, 5]]),
        torch.tensor([[30.0, 9, 40, 32]]),
    ]
    points = torch.cat([torch.rand(4, 20, 2), torch.tensor([[0.0, 0], [1, 1]]).expand(4, 2, 2)], 1)
    boxes = [Boxes(rows) for rows in of_images]
    expected, _ = point_sample_fine_grained_features(maps, scales, boxes, points)
    image = torch.tensor([0.0, 0, 1, 2])[:, None]
    rois = torch.cat([image, torch.cat(of_images)], dim=1)
    torch.testing.assert_close(sample_rows(maps, scales, rois, points), expected)


def test_images_without_boxes_give_no_features():
    none = Boxes(torch.zeros(0, 4))
    found, places = point_sample_fine_grained_features(
        [torch.rand(2, 3, 4, 4)], [0.25], [none, none], torch.zeros(0, 5, 2)
    )
    assert found.shape == (0, 3, 5)
    assert places.shape == (0, 5, 2)


@pytest.mark.parametrize("kind", ["bitmask", "polygon"])
def test_labels_are_the_mask_at_the_points(kind):
    bits = torch.zeros(1, 20, 30, dtype=torch.bool)
    bits[0, 4:12, 6:18] = True
    outline = [[np.array([6.0, 4, 18, 4, 18, 12, 6, 12])]]
    masks = BitMasks(bits) if kind == "bitmask" else PolygonMasks(outline)
    boxes = Boxes(torch.tensor([[2.0, 2, 22, 18]]))
    instances = Instances((20, 30), proposal_boxes=boxes, gt_masks=masks)
    empty = instances[torch.zeros(1, dtype=torch.bool)]
    # 20 x 16 points: the centres of pixels, where interpolation changes nothing.
    y, x = torch.meshgrid(
        (torch.arange(16) + 0.5) / 16, (torch.arange(20) + 0.5) / 20, indexing="ij"
    )
    points = torch.stack([x, y], dim=-1).view(1, -1, 2)
    labels = sample_point_labels([empty, instances], points)
    torch.testing.assert_close(labels.view(16, 20), bits[0, 2:18, 2:22].float())


def test_no_object_has_no_labels():
    grid = generate_regular_grid_point_coords(0, 3, "cpu")
    assert sample_point_labels(
        [Instances((4, 4), proposal_boxes=Boxes(torch.zeros(0, 4)))], grid
    ).shape == (0, 9)
