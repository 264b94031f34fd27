"""From the raw predictions of one image to instances: memory is bounded, and nothing is lost."""

import math

import pytest
import torch

from d2lite.projects.solov2 import inference, point_nms
from d2lite.structures import BitMasks

from .small import image, small_model

FLOOD = ("MODEL.SOLOV2.SCORE_THR", 0.0, "MODEL.SOLOV2.UPDATE_THR", 0.0)


@pytest.fixture
def num_maps(monkeypatch):
    """How many soft masks each dynamic convolution makes."""
    counts, convolve = [], inference._soft_masks

    def counted(kernels, features):
        counts.append(len(kernels))
        return convolve(kernels, features)

    monkeypatch.setattr(inference, "_soft_masks", counted)
    return counts


def raw(model, seed: int = 4):
    """Scores, kernels, mask features and strides of one image, all scores distinct."""
    categories, kernels, features = model._heads(model.preprocess_image([image(seed, 0)]).tensor)
    scores = categories[0].sigmoid()
    noise = torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed))
    return scores * (0.5 + noise), kernels[0], features[0], torch.ones(len(scores))


@torch.no_grad()
def test_no_convolution_makes_more_maps_than_candidates_may_enter(num_maps):
    """With every cell above the threshold; the published order made a map of each at once."""
    model = small_model(*FLOOD, "MODEL.SOLOV2.NMS_PRE", 200).eval()
    found = model([image(1, 0)])[0]["instances"]
    num_cells = sum(grid**2 for grid in model.ins_head.num_grids)
    assert num_cells > 3000
    assert max(num_maps) == 200
    assert 0 < len(found) <= 100


@torch.no_grad()
def test_cells_that_cannot_come_among_the_best_are_not_convolved(num_maps):
    """A mask's quality only lowers a score, so a hundred strong cells settle it."""
    model = small_model(*FLOOD, "MODEL.SOLOV2.NMS_PRE", 50).eval()
    scores, kernels, features, strides = raw(model)
    strong = torch.arange(7, 107)
    scores *= 0.1
    scores[strong] = 0.98
    model.decoder._candidates(scores, kernels, features, strides)
    assert sum(num_maps) < 250


@torch.no_grad()
@pytest.mark.parametrize("limit", [1, 37, 300])
def test_candidates_are_the_best_of_all_cells_and_categories(limit):
    """Against the plain order: every map first, then every score, then the best."""
    model = small_model(*FLOOD, "MODEL.SOLOV2.NMS_PRE", limit).eval()
    scores, kernels, features, strides = raw(model)
    soft = torch.einsum("rd,dhw->rhw", kernels, features).sigmoid()
    mask = soft > 0.5
    area = mask.sum((1, 2)).float()
    quality = torch.stack(
        [s[m].mean() if m.any() else s.new_tensor(0) for s, m in zip(soft, mask, strict=True)]
    )
    rescored = (scores * quality[:, None]).where((area > strides)[:, None], -1)
    expected, place = rescored.flatten().topk(limit)
    labels, found, soft_masks = model.decoder._candidates(scores, kernels, features, strides)
    torch.testing.assert_close(found, expected)
    assert labels.tolist() == (place % scores.shape[1]).tolist()
    torch.testing.assert_close(soft_masks, soft[place // scores.shape[1]])


@torch.no_grad()
def test_masks_are_pasted_in_pieces_that_stay_within_the_bound(monkeypatch):
    """A hundred masks of a large photograph would not fit at once in float32."""
    model = small_model().eval()
    soft = torch.rand(9, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = model.decoder._paste(soft, (60, 90), (130, 200))
    resize, sizes = inference.F.interpolate, []

    def watched(*args, **kwargs):
        result = resize(*args, **kwargs)
        sizes.append(result.numel())
        return result

    bound = 2 * 130 * 200
    monkeypatch.setattr(inference, "_PIECE_ELEMENTS", bound)
    monkeypatch.setattr(inference.F, "interpolate", watched)
    pieces = model.decoder._paste(soft, (60, 90), (130, 200))
    assert max(sizes) <= bound
    assert len(sizes) == 2 * math.ceil(9 / 2)
    assert torch.equal(pieces, whole)


@torch.no_grad()
def test_mask_larger_than_the_bound_is_pasted_alone(monkeypatch):
    """One photograph may be larger than a piece."""
    model = small_model().eval()
    soft = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = model.decoder._paste(soft, (60, 90), (130, 200))
    monkeypatch.setattr(inference, "_PIECE_ELEMENTS", 10)
    assert torch.equal(model.decoder._paste(soft, (60, 90), (130, 200)), whole)


@torch.no_grad()
def test_mirrored_images_share_their_masks_when_both_are_seen():
    """TEST_FLIP averages an image with its mirror image, so which of the two comes is the same."""
    model = small_model("MODEL.SOLOV2.TEST_FLIP", True).eval()
    plain = model.preprocess_image([image(1, 0)]).tensor
    seen = model._heads(plain, suppress_points=True)
    mirrored = model._heads(plain.flip(-1), suppress_points=True)

    def logits(heads):
        _, kernels, features = heads
        return torch.einsum("nrd,ndhw->nrhw", kernels, features)

    grids = [grid**2 for grid in model.ins_head.num_grids]
    twins = [
        level.unflatten(1, (grid, grid)).flip(2).flatten(1, 2)
        for level, grid in zip(
            logits(mirrored).flip(-1).split(grids, dim=1), model.ins_head.num_grids, strict=True
        )
    ]
    torch.testing.assert_close(torch.cat(twins, dim=1), logits(seen), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_scores_of_an_image_and_its_mirror_image_are_averaged_before_points_nms():
    """Two peaks a cell apart, one from each view, must not both survive."""
    model = small_model("MODEL.SOLOV2.TEST_FLIP", True).eval()
    plain = model.preprocess_image([image(1, 0)]).tensor
    seen, twin = (model._maps(view)[0] for view in (plain, plain.flip(-1)))
    expected = torch.cat(
        [
            point_nms((a.sigmoid() + b.sigmoid().flip(-1)) / 2).flatten(2).transpose(1, 2)
            for a, b in zip(seen, twin, strict=True)
        ],
        dim=1,
    )
    found = model._heads(plain, suppress_points=True)[0]
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_seeing_the_mirror_image_gives_results_of_the_common_kind():
    """Whoever draws or scores them need not know."""
    opts = ("MODEL.SOLOV2.SCORE_THR", 0.001, "MODEL.SOLOV2.UPDATE_THR", 0.0)
    model = small_model(*opts, "MODEL.SOLOV2.TEST_FLIP", True).eval()
    found = model([{**image(1, 0, (50, 70)), "height": 100, "width": 140}])[0]["instances"]
    assert len(found) > 0
    assert found.pred_masks.shape == (len(found), 100, 140)
    boxes = BitMasks(found.pred_masks).get_bounding_boxes().tensor
    assert torch.equal(found.pred_boxes.tensor, boxes)
