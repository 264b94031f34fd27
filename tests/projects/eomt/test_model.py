"""EoMT: finite losses in every case, masks that end, draws that follow from images, results."""

import copy

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import EventStorage

from .small import NUM_CLASSES, NUM_QUERIES, image, small_cfg

pytest.importorskip("timm")


def small_model(*opts):
    torch.manual_seed(0)
    return build_model(small_cfg(*opts))


DINOV3 = ["MODEL.BACKBONE.NAME", "timm_vit:vit_small_patch16_dinov3"]
CASES = {
    "two images of unequal size": [image(1, 3), image(2, 1, 80, 57)],
    "no objects in one": [image(1, 0), image(2, 2)],
    "no objects": [image(1, 0), image(2, 0)],
    "more objects than queries": [image(1, 3 * NUM_QUERIES)],
    "an image of fewer cells than queries": [image(3, 1, 20, 24)],
}


@pytest.mark.parametrize("opts", [[], DINOV3], ids=["DINOv2", "DINOv3"])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_finite_and_reach_every_parameter(case, opts):
    model = small_model(*opts)
    losses = model(copy.deepcopy(CASES[case]))
    assert set(losses) == {
        f"loss_{kind}{end}" for kind in ("ce", "mask", "dice") for end in ("", "_0", "_1")
    }
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_masks_that_vanished_in_a_crop_train_like_empty_objects():
    one = image(1, 2)
    one["instances"].gt_masks[0] = False
    losses = small_model()([one])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_query_without_a_cell_still_sees_the_other_tokens():
    """With all its scores at minus infinity it would be NaN."""
    model = small_model().train()
    with torch.no_grad():
        model.mask_head[-1].weight.zero_()
        model.mask_head[-1].bias.zero_()
    losses = model([image(1, 2)])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_bfloat16_gives_losses_near_those_of_float32():
    model = small_model()
    batch = [{**image(seed, 2), "draw_key": seed} for seed in (1, 2)]
    plain = model(copy.deepcopy(batch))
    with torch.autocast("cpu", torch.bfloat16):
        low = model(copy.deepcopy(batch))
    for name, loss in plain.items():
        assert low[name].dtype == torch.float32
        assert low[name].item() == pytest.approx(loss.item(), rel=0.1, abs=0.1)


def test_a_prediction_that_is_not_finite_is_not_reported_by_scipy():
    model = small_model()
    with torch.no_grad():
        model.class_head.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        model([image(1, 2)])


def test_masks_end_block_by_block_with_the_iterations():
    model = small_model("SOLVER.MAX_ITER", 400, "MODEL.EOMT.ANNEALING_POWER", 1.0)
    found = []
    for iteration in (0, 100, 150, 200, 250, 399):
        with EventStorage(iteration):
            model([image(1, 1)])
        found.append(model.attn_mask_probs.tolist())
    assert found == [[1, 1], [1, 1], [0.5, 1], [0, 1], [0, 0.5], [0, 0]]
    model.eval()
    assert model.predict_queries(torch.zeros(1, 3, 32, 32))["aux_outputs"] == []


def test_masks_stay_where_they_are_not_annealed():
    model = small_model("SOLVER.MAX_ITER", 4, "MODEL.EOMT.ANNEALED", False)
    with EventStorage(3):
        model([image(1, 1)])
    assert model.attn_mask_probs.tolist() == [1, 1]


def test_which_queries_are_masked_follows_from_the_image_alone():
    """So that a resumed run, and images in any batch, see the same."""
    model = small_model("SOLVER.MAX_ITER", 400)

    def losses(*keys):
        batch = [{**image(seed, 2), "draw_key": key} for seed, key in enumerate(keys)]
        with EventStorage(150):
            return model(batch)

    together, again, other = losses(7, 8), losses(7, 8), losses(9, 10)
    assert all(torch.equal(together[name], again[name]) for name in together)
    assert not torch.equal(together["loss_ce"], other["loss_ce"])


def test_results_of_every_kind_have_the_wanted_size():
    model = small_model("MODEL.EOMT.TEST.SEMANTIC_ON", True).eval()
    model.metadata = {"thing_dataset_id_to_contiguous_id": {1: 0, 2: 1}}
    model.panoptic_on = True
    with torch.no_grad():
        (found,) = model([{**image(1, 0, 50, 70), "height": 100, "width": 140}])
    assert found["sem_seg"].shape == (NUM_CLASSES, 100, 140)
    assert found["panoptic_seg"][0].shape == (100, 140)
    assert found["instances"].pred_masks.shape[1:] == (100, 140)


def test_images_of_one_size_give_alone_what_they_give_together():
    model = small_model().eval()
    pixels = torch.randn(3, 3, 48, 80)
    with torch.no_grad():
        together = model.predict_queries(pixels)["pred_masks"]
        alone = torch.cat([model.predict_queries(one[None])["pred_masks"] for one in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_recomputed_blocks_give_the_same_gradients():
    grads = []
    for recompute in (False, True):
        model = small_model("MODEL.TIMM_VIT.USE_ACT_CHECKPOINT", recompute)
        sum(model([{**image(1, 2), "draw_key": 1}]).values()).backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.EOMT.BLOCKS", 4], "BLOCKS is 4; the backbone has 3"),
        (["MODEL.TIMM_VIT.WINDOW_SIZE", 2], "without windows"),
        (["MODEL.BACKBONE.NAME", "build_resnet_backbone"], "plain vision transformer"),
    ],
)
def test_backbones_that_do_not_fit_are_refused(opts, message):
    with pytest.raises(ConfigError, match=message):
        small_model(*opts)
