import pytest
import torch
import torch.nn.functional as F

from d2lite.layers import CosineConv2d, CosineLinear


@pytest.mark.parametrize("layer", [CosineLinear(6, 4, 20.0), CosineConv2d(6, 4, 20.0)])
def test_scores_are_cosines_times_the_scale(layer):
    shape = (5, 6) if isinstance(layer, torch.nn.Linear) else (5, 6, 1, 1)
    x = torch.randn(shape)
    weight = layer.weight.reshape(4, 6)
    expected = 20 * F.cosine_similarity(x.reshape(5, 1, 6), weight[None], dim=2) + layer.bias
    torch.testing.assert_close(layer(x).reshape(5, 4), expected, rtol=1e-4, atol=1e-4)
    longer = layer(3 * x)
    layer.weight.data *= 7
    torch.testing.assert_close(longer, layer(x), rtol=1e-4, atol=1e-4)


def test_a_region_without_features_has_finite_scores_and_gradients():
    layer, x = CosineLinear(6, 4, 20.0), torch.zeros(2, 6, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.isfinite().all()
    assert torch.equal(layer(x)[0], layer.bias)
