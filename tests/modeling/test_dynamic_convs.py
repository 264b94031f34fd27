"""Convolutions of each object: the definition, one object and one cell at a time."""

import pytest
import torch

from d2lite.modeling.dynamic_convs import kernel_sizes, run_dynamic, with_ways


@pytest.mark.parametrize("widths", [[10, 8, 8, 1], [10, 4, 3], [10, 6]])
def test_each_object_has_convolutions_of_its_own(widths):
    torch.manual_seed(0)
    features, (weights, biases) = torch.randn(8, 3, 4), kernel_sizes(widths)
    kernels = torch.randn(2, sum(weights) + sum(biases))
    points, strides = torch.tensor([[8.0, 0], [16, 32]]), torch.tensor([8.0, 32])
    found = run_dynamic(with_ways(features, points, strides, 8, 4.0), kernels, widths)
    assert found.shape == (2, widths[-1], 3, 4)
    count = len(widths) - 1
    for number in range(2):
        parts = kernels[number].split([*weights, *biases])
        for row in range(3):
            for column in range(4):
                place = torch.tensor([8.0 * column + 4, 8.0 * row + 4])
                way = (points[number] - place) / (8 * strides[number])
                x = torch.cat([way, features[:, row, column]])
                for i in range(count):
                    x = parts[i].view(widths[i + 1], widths[i]) @ x + parts[count + i]
                    x = x.relu() if i < count - 1 else x
                torch.testing.assert_close(found[number, :, row, column], x)


def test_features_of_each_object_and_no_objects():
    features = torch.randn(2, 8, 3, 4)
    strides = torch.tensor([8.0, 8])
    own = with_ways(features, torch.zeros(2, 2), strides, 8)
    shared = with_ways(features[1], torch.zeros(2, 2), strides, 8)
    torch.testing.assert_close(own[1], shared[1])
    kernels = torch.zeros(0, sum(map(sum, kernel_sizes([10, 8, 2]))))
    empty = with_ways(features[0], torch.zeros(0, 2), strides[:0], 8)
    assert run_dynamic(empty, kernels, [10, 8, 2]).shape == (0, 2, 3, 4)
