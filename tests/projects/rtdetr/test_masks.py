"""Masks of queries: crops, products, losses, and what a model makes of them."""

import numpy as np
import pytest
import torch

from d2lite.modeling.transformer import Pairs, Predictions
from d2lite.projects.rtdetr.mask_head import QueryMaskHead, regions_and_masks
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import DataError

from .small import KINDS, build, image

MASK_ON = ["MODEL.MASK_ON", True]


def head(**options):
    torch.manual_seed(0)
    return QueryMaskHead(8, 6, 8, width=5, size=4, norm="BN", **options).eval()


def test_a_crop_has_the_vectors_at_the_cells_of_the_box():
    """A map that holds its own coordinates, in pixels, gives the centres of the cells."""
    ys, xs = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    # Vectors of pixels are four pixels apart, the first in the middle of its four.
    pixels = torch.stack([xs, ys])[None] * 4 + 2
    crop = head().crop(pixels, [torch.tensor([[8.0, 16.0, 40.0, 32.0]])])
    found = crop.reshape(2, 4, 4)
    np.testing.assert_allclose(found[0, 0], [12, 20, 28, 36], atol=1e-4)
    np.testing.assert_allclose(found[1, :, 0], [18, 22, 26, 30], atol=1e-4)


def test_a_mask_is_the_product_of_its_query_with_the_pixels():
    part = head()
    queries, crops = torch.randn(3, 2, 6), torch.randn(3, 5, 16)
    with torch.no_grad():
        found, vectors = part(queries, crops), part.query_embed(queries)
    wanted = np.einsum("rle,res->rls", vectors.numpy(), crops.numpy()) / np.sqrt(5)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_losses_are_those_of_each_pair_in_each_layer():
    part = head()
    features = torch.randn(2, 1, 3, 6)
    # Object 1 is found by query 0 in layer 0 and by query 2 in layer 1; the third layer has none.
    number = torch.tensor
    pairs = Pairs(
        number([0, 0, 1, 2]), number([0] * 4), number([0, 1, 2, 0]), number([1, 0, 1, 0]),
        number([1.0, 0.5, 2.0, 9.0]),
    )  # fmt: skip
    found = Predictions(["_a", "_b", "_c"], features, features, features=features)
    crops, truth = torch.randn(2, 5, 16), (torch.rand(2, 16) > 0.5).float()
    with torch.no_grad():
        losses, layers = part.losses(found, pairs, crops, truth)
        assert layers.tolist() == [0, 0, 1]
        for at, (layer, query, obj, weight) in enumerate(
            [(0, 0, 1, 1.0), (0, 1, 0, 0.5), (1, 2, 1, 2.0)]
        ):
            logits = part(features[layer, :, query][:, None], crops[obj][None])[0, 0].double()
            chance, label = logits.sigmoid().numpy(), truth[obj].double().numpy()
            entropy = -np.mean(label * np.log(chance) + (1 - label) * np.log(1 - chance))
            dice = 1 - (2 * (chance * label).sum() + 1) / (chance.sum() + label.sum() + 1)
            np.testing.assert_allclose(losses["mask"][at], entropy * weight, rtol=1e-4)
            np.testing.assert_allclose(losses["dice"][at], dice * weight, rtol=1e-4)


def test_regions_have_a_margin_and_masks_are_what_is_in_them():
    truth = image(3, 2)["instances"]
    regions, masks = regions_and_masks([truth], ["a.jpg"], 28)
    boxes = truth.gt_boxes.tensor
    sides = boxes[:, 2:] - boxes[:, :2]
    torch.testing.assert_close(regions[0][:, :2], boxes[:, :2] - 0.1 * sides)
    # A right triangle in a box that is 1.2 times as wide and high.
    shares = masks.mean(dim=1)
    np.testing.assert_allclose(shares, 0.5 / 1.44, atol=0.03)


def test_objects_without_masks_are_refused_and_images_without_objects_are_not():
    empty = Instances((8, 8), gt_boxes=Boxes(torch.zeros(0, 4)))
    bare = Instances((8, 8), gt_boxes=Boxes(torch.tensor([[0.0, 0.0, 4.0, 4.0]])))
    assert regions_and_masks([empty], ["a.jpg"], 4)[1].shape == (0, 16)
    with pytest.raises(DataError, match=r"b.jpg has 1 objects without masks.*MODEL.MASK_ON"):
        regions_and_masks([empty, bare], ["a.jpg", "b.jpg"], 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (30, 1)], ids=["none", "few", "many"])
def test_losses_of_masks_are_finite_and_reach_every_parameter(kind, counts):
    model = build(kind, *MASK_ON)
    losses = model([image(seed, count) for seed, count in enumerate(counts)])
    assert {"loss_mask", "loss_dice", "loss_mask_aux_0", "loss_dice_aux_0"} <= set(losses)
    assert not any("_enc" in name or "_dn" in name for name in losses if "mask" in name)
    sum(losses.values()).backward()
    assert all(value.grad is not None for value in model.parameters())
    assert all(value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_results_have_masks_of_the_wanted_size_inside_their_boxes(kind):
    model = build(kind, *MASK_ON).eval()
    items = [{**image(0, 0, 61, 95), "height": 122, "width": 190}, image(1, 0, 40, 64)]
    with torch.no_grad():
        found = [result["instances"] for result in model(items)]
        alone = model(items[1:])[0]["instances"]
    assert found[0].pred_masks.shape[1:] == (122, 190)
    assert found[0].pred_masks.dtype == torch.bool
    assert torch.equal(found[1].pred_masks, alone.pred_masks)
    for mask, box in zip(found[0].pred_masks, found[0].pred_boxes.tensor, strict=True):
        ys, xs = mask.nonzero(as_tuple=True)
        if len(ys):
            assert xs.min() >= box[0].floor() - 1
            assert xs.max() <= box[2].ceil() + 1
            assert ys.min() >= box[1].floor() - 1
            assert ys.max() <= box[3].ceil() + 1


def test_without_the_key_there_is_no_mask_head():
    assert not any("mask" in name for name, _ in build("rtdetr").named_parameters())
