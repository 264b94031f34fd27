"""Points between cells, and the choice of those where a prediction is unsure."""

import numpy as np
import pytest
import torch

from d2lite.layers.point_sampling import (
    generate_regular_grid_point_coords,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    points_of_images,
    put_at_cells,
)
from d2lite.utils.keyed_rng import keyed_images


def interpolated(grid: np.ndarray, x: float, y: float) -> float:
    """The definition: cell (i, j) has its centre at ((j + 0.5) / W, (i + 0.5) / H); 0 outside."""
    height, width = grid.shape
    total = 0.0
    for i in range(height):
        for j in range(width):
            near_x = max(0.0, 1 - abs(x * width - (j + 0.5)))
            near_y = max(0.0, 1 - abs(y * height - (i + 0.5)))
            total += grid[i, j] * near_x * near_y
    return total


def test_sampling_interpolates_between_centres_of_cells():
    maps = torch.randn(2, 3, 4, 5)
    points = torch.rand(2, 7, 2) * 1.2 - 0.1
    sampled = point_sample(maps, points, align_corners=False)
    for n, c, p in np.ndindex(2, 3, 7):
        expected = interpolated(maps[n, c].numpy(), *points[n, p].tolist())
        assert sampled[n, c, p] == pytest.approx(expected, abs=1e-5)


def test_a_grid_of_points_gives_a_grid_of_values():
    maps = torch.randn(1, 2, 3, 3)
    points = torch.rand(1, 4, 6, 2)
    assert point_sample(maps, points, align_corners=False).shape == (1, 2, 4, 6)


def test_half_precision_maps_are_sampled_at_exact_places():
    maps = torch.arange(512.0).view(1, 1, 1, 512)
    point = torch.tensor([[[300.5 / 512, 0.5]]])
    sampled = point_sample(maps.bfloat16(), point, align_corners=False)
    assert sampled.item() == maps.bfloat16()[..., 300].item()


def test_regular_grid_holds_the_centres_of_cells_row_by_row():
    grid = generate_regular_grid_point_coords(2, 2, "cpu")
    cells = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert grid.tolist() == [cells, cells]


def test_a_map_sampled_at_its_own_grid_is_the_map():
    maps = torch.randn(2, 3, 5, 5)
    grid = generate_regular_grid_point_coords(2, 5, "cpu")
    sampled = point_sample(maps, grid, align_corners=False)
    torch.testing.assert_close(sampled, maps.flatten(2))


def uncertainty(logits):
    return -logits.abs()


def test_chosen_points_are_the_least_certain_candidates():
    """The first three quarters; the rest comes fresh from the source."""
    maps = torch.randn(2, 1, 6, 6)
    drawn = []

    def draw(count):
        drawn.append(torch.rand(2, count, 2))
        return drawn[-1]

    points = get_uncertain_point_coords_with_randomness(maps, uncertainty, 8, 3, 0.75, draw=draw)
    candidates, rest = drawn
    assert (candidates.shape, rest.shape) == ((2, 24, 2), (2, 2, 2))
    assert torch.equal(points[:, 6:], rest)
    for n in range(2):
        doubt = uncertainty(point_sample(maps, candidates, align_corners=False))[n, 0]
        best = candidates[n, doubt.argsort(descending=True)[:6]]
        assert torch.equal(points[n, :6], best)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_none_may_be_chosen_by_uncertainty(share):
    points = get_uncertain_point_coords_with_randomness(
        torch.randn(3, 1, 4, 4), uncertainty, 5, 2, share
    )
    assert points.shape == (3, 5, 2)
    assert points.min() >= 0
    assert points.max() < 1


def test_no_object_gives_no_points():
    maps = torch.zeros(0, 1, 4, 4)
    points = get_uncertain_point_coords_with_randomness(maps, uncertainty, 5, 3, 0.75)
    assert points.shape == (0, 5, 2)
    assert points_of_images([], 1, "cpu")(5).shape == (0, 5, 2)


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 0.75), (3, 1.5), (3, -0.1)])
def test_impossible_ratios_are_refused_with_their_keys(ratio, share):
    with pytest.raises(ValueError, match=r"OVERSAMPLE_RATIO.*IMPORTANCE_SAMPLE_RATIO"):
        get_uncertain_point_coords_with_randomness(
            torch.zeros(1, 1, 2, 2), uncertainty, 4, ratio, share
        )


def test_points_of_an_image_follow_from_its_key_alone():
    """Whatever else is in the batch, and however many numbers were drawn before."""
    with keyed_images([11, 12]):
        both = points_of_images([2, 3], 7, "cpu")(4)
    torch.rand(5)
    with keyed_images([12]):
        second = points_of_images([3], 7, "cpu")(4)
        other_purpose = points_of_images([3], 8, "cpu")(4)
    assert torch.equal(both[2:], second)
    assert not torch.equal(second, other_purpose)


def test_least_certain_cells_come_with_their_centres():
    doubt = torch.tensor([[[[0.0, 5.0, 1.0], [4.0, 2.0, 3.0]]]])
    cells, points = get_uncertain_point_coords_on_grid(doubt, 2)
    assert cells.tolist() == [[1, 3]]
    torch.testing.assert_close(points, torch.tensor([[[0.5, 0.25], [1 / 6, 0.75]]]))


def test_more_points_than_cells_are_all_cells():
    cells, points = get_uncertain_point_coords_on_grid(torch.rand(2, 1, 3, 3), 50)
    assert sorted(cells[0].tolist()) == list(range(9))
    assert points.shape == (2, 9, 2)


def test_put_at_cells_changes_these_alone():
    maps = torch.zeros(1, 2, 2, 2)
    new = put_at_cells(maps, torch.tensor([[3, 0]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    assert new.tolist() == [[[[2, 0], [0, 1]], [[4, 0], [0, 3]]]]
    assert maps.sum() == 0


def test_gradients_reach_the_map():
    maps = torch.randn(1, 1, 4, 4, requires_grad=True)
    point_sample(maps, torch.rand(1, 50, 2), align_corners=False).sum().backward()
    assert (maps.grad > 0).all()
