"""The whole model: losses equal the loops' losses, and predictions hold together."""

import numpy as np
import pytest
import torch

from d2lite.projects.solov2 import add_solov2_config
from d2lite.projects.solov2.losses import category_loss
from d2lite.structures import PolygonMasks
from d2lite.utils.errors import ConfigError

from . import definition
from .small import NUM_CLASSES, image, small_cfg, small_model


def test_losses_equal_the_definition_by_loops():
    """One product for all cells and levels against one convolution for each cell."""
    model = small_model()
    batch = [image(1, 4), image(2, 0, (50, 70)), image(3, 9, (64, 80))]
    images = model.preprocess_image(batch)
    categories, kernels, features = model._heads(images.tensor)
    sizes = [grid**2 for grid in model.ins_head.num_grids]

    def levels(cells):
        grids = zip(cells.split(sizes, dim=1), model.ins_head.num_grids, strict=True)
        return [x.transpose(1, 2).unflatten(2, (grid, grid)).detach() for x, grid in grids]

    truth = [
        (
            x["instances"].gt_boxes.tensor.numpy(),
            x["instances"].gt_classes.numpy(),
            x["instances"].gt_masks.tensor.numpy(),
        )
        for x in batch
    ]
    expected = definition.loss_by_loops(
        levels(categories),
        levels(kernels),
        features.detach(),
        truth,
        {
            "num_grids": model.ins_head.num_grids,
            "scale_ranges": model.scale_ranges,
            "sigma": model.sigma,
            "num_classes": NUM_CLASSES,
        },
    )
    # Batch norm: the same mode and batch give the same features again.
    found = model.losses(batch)
    assert {k: v.item() for k, v in found.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-4
    )


@pytest.mark.parametrize("num_objects", [0, 3])
def test_losses_are_finite_and_reach_every_parameter(num_objects):
    """Also for a batch without any object, where DDP would wait for missing gradients."""
    model = small_model()
    losses = model.losses([image(1, num_objects), image(2, 0)])
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_polygons_are_learnt_like_bitmasks():
    """INPUT.MASK_FORMAT may be either."""
    model = small_model()
    bitmap, polygon = image(1, 1), image(1, 1)
    x0, y0, x1, y1 = 8, 12, 40, 44
    bitmap["instances"].gt_masks.tensor[:] = False
    bitmap["instances"].gt_masks.tensor[:, y0:y1, x0:x1] = True
    polygon["instances"].gt_masks = PolygonMasks(
        [[np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=float)]]
    )
    expected = model.losses([bitmap])
    found = model.losses([polygon])
    assert found["loss_ins"].item() == pytest.approx(expected["loss_ins"].item(), rel=1e-5)


@torch.no_grad()
def test_predictions_have_the_asked_size_and_tight_boxes():
    """Box AP means something only when the boxes are those of the masks."""
    model = small_model("MODEL.SOLOV2.SCORE_THR", 0.001, "MODEL.SOLOV2.UPDATE_THR", 0.0001).eval()
    inputs = [{**image(1, 0), "height": 130, "width": 200}]
    instances = model(inputs)[0]["instances"]
    assert len(instances) > 0
    assert instances.image_size == (130, 200)
    assert instances.pred_masks.shape == (len(instances), 130, 200)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.scores.tolist() == sorted(instances.scores.tolist(), reverse=True)
    for mask, box in zip(instances.pred_masks, instances.pred_boxes.tensor.tolist(), strict=True):
        if mask.any():
            ys, xs = mask.nonzero(as_tuple=True)
            assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@torch.no_grad()
@pytest.mark.parametrize("nms_type", ["matrix", "mask"])
def test_no_candidate_gives_an_empty_result_of_the_common_kind(nms_type):
    """Right shapes, types and device, so that whoever comes next needs no special case."""
    model = small_model("MODEL.SOLOV2.SCORE_THR", 0.999, "MODEL.SOLOV2.NMS_TYPE", nms_type).eval()
    instances = model([image(1, 0)])[0]["instances"]
    assert len(instances) == 0
    assert instances.pred_masks.shape == (0, 64, 96)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_boxes.tensor.shape == (0, 4)
    assert instances.pred_classes.dtype == torch.int64


@torch.no_grad()
def test_candidates_do_not_depend_on_the_size_of_the_pieces():
    """Cells are gone through in pieces, to bound memory; the best are the best all the same."""
    opts = ("MODEL.SOLOV2.SCORE_THR", 0.001, "MODEL.SOLOV2.UPDATE_THR", 0.0)
    whole = small_model(*opts, "MODEL.SOLOV2.NMS_PRE", 100000).eval()
    pieces = small_model(*opts, "MODEL.SOLOV2.NMS_PRE", 300).eval()
    batch = [image(4, 0)]
    categories, kernels, features = whole._heads(whole.preprocess_image(batch).tensor)
    scores = categories[0].sigmoid()
    strides = torch.ones(len(scores))
    wanted = whole.decoder._candidates(scores, kernels[0], features[0], strides)
    found = pieces.decoder._candidates(scores, kernels[0], features[0], strides)
    assert len(wanted[0]) > 300
    torch.testing.assert_close(found[1], wanted[1][:300])
    torch.testing.assert_close(found[2].sum((1, 2)), wanted[2][:300].sum((1, 2)))


@torch.no_grad()
def test_flat_image_beside_a_tall_one_gets_the_masks_it_gets_alone():
    """The published scale comes from the image's height; ours, when asked, from the batch's."""
    opts = ("MODEL.SOLOV2.SCORE_THR", 0.001, "MODEL.SOLOV2.UPDATE_THR", 0.0)
    right = small_model(*opts, "MODEL.SOLOV2.PASTE_AS_PUBLISHED", False).eval()
    flat, soft = (40, 96), torch.zeros(1, 32, 32)
    soft[:, :10, :24] = 1
    masks = right.decoder._paste(soft, flat, flat)
    assert masks[0].float().mean() > 0.95
    published = small_model(*opts).eval()
    assert published.decoder._paste(soft, flat, flat)[0].float().mean() < 0.9


@torch.no_grad()
def test_autocast_in_bfloat16_gives_the_same_losses_roughly():
    """Sums over pixels are taken in float32, or they would overflow or stall."""
    model = small_model()
    batch = [image(1, 4), image(2, 6)]
    wanted = model.losses(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.losses(batch)
    for name, loss in wanted.items():
        assert found[name].item() == pytest.approx(loss.item(), rel=0.05)


@pytest.mark.parametrize("kind", ["DCN", "DCNv2"])
def test_deformable_towers_begin_as_ordinary_ones_and_learn(kind):
    """USE_DCN_IN_INSTANCE is read, unlike in the published code."""
    model = small_model("MODEL.SOLOV2.USE_DCN_IN_INSTANCE", True, "MODEL.SOLOV2.TYPE_DCN", kind)
    sum(model.losses([image(1, 3)]).values()).backward()
    offset = model.ins_head.kernel_tower[3].offset
    assert offset.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.SOLOV2.NUM_KERNELS", 16], "NUM_KERNELS=16 and NUM_MASKS=32"),
        (["MODEL.SOLOV2.NUM_GRIDS", [40, 36]], "NUM_GRIDS has 2 entries for 5 levels"),
        (["MODEL.SOLOV2.MASK_IN_FEATURES", ["p2", "p9"]], "names 'p9'; the backbone has p2"),
        (["MODEL.FPN.OUT_CHANNELS", 64], "expects 32 channels in 'p2'"),
        (["MODEL.SOLOV2.LOSS.FOCAL_USE_SIGMOID", False], "FOCAL_USE_SIGMOID is False"),
        (["MODEL.SOLOV2.INSTANCE_CHANNELS", 40], "multiples of 32; found 40"),
        (["MODEL.SOLOV2.USE_DCN_IN_INSTANCE", True, "MODEL.SOLOV2.TYPE_DCN", "X"], "use 'DCN'"),
        (["MODEL.SOLOV2.CONV_INIT", "he"], "CONV_INIT is 'he'; use 'normal' or 'kaiming'"),
    ],
)
def test_options_that_cannot_work_are_refused_when_the_model_is_built(opts, message):
    """And not at the first image of an evaluation, hours later."""
    with pytest.raises(ConfigError, match=message):
        small_model(*opts)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.SOLOV2.NMS_TYPE", "soft"], "NMS_TYPE is 'soft'"),
        (["MODEL.SOLOV2.NMS_KERNEL", "cubic"], "NMS_KERNEL is 'cubic'"),
    ],
)
def test_unknown_suppression_is_refused_when_the_model_is_built(opts, message):
    """Both are strings that a typo can hit."""
    with pytest.raises(ValueError, match=message):
        small_model(*opts)


@pytest.mark.parametrize(("init", "deviation"), [("normal", 0.01), ("kaiming", (2 / 288) ** 0.5)])
def test_first_weights_have_the_deviation_asked_for(init, deviation):
    """Of 32 channels and 9 points; the last layers keep theirs, which sets the first scores."""
    model = small_model("MODEL.SOLOV2.CONV_INIT", init)
    for conv in (model.ins_head.cate_tower[3], model.mask_head.convs_all_levels[1]["conv0"][0]):
        assert conv.weight.std().item() == pytest.approx(deviation, rel=0.1)
    assert model.ins_head.cate_pred.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_defaults_are_adelaidets():
    """Adding the keys twice changes nothing, as when two scripts both do it."""
    cfg = small_cfg()
    before = cfg.clone()
    add_solov2_config(cfg)
    assert cfg == before


def test_category_loss_is_the_focal_loss_written_out():
    """Background cells count as negatives of every category."""
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]])
    loss = category_loss(logits, torch.tensor([0, 2]), alpha=0.25, gamma=2.0)
    p = logits.sigmoid()
    expected = -0.25 * (1 - p[0, 0]) ** 2 * p[0, 0].log()
    for q in (p[0, 1], p[1, 0], p[1, 1]):
        expected = expected - 0.75 * q**2 * (1 - q).log()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
