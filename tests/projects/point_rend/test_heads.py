"""The point heads and their loss against their definitions, and the mask heads in a model."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from d2lite.layers import ShapeSpec
from d2lite.modeling import build_model
from d2lite.projects.point_rend import (
    CoarseMaskHead,
    ConvFCHead,
    ImplicitPointHead,
    PointRendROIHeads,
    StandardPointHead,
    roi_mask_point_loss,
)
from d2lite.projects.point_rend.mask_head import calculate_uncertainty
from d2lite.projects.point_rend.semantic_seg import calculate_uncertainty as uncertainty_of_classes
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ConfigError

from .small import IMPLICIT, NUM_CLASSES, SEMANTIC, image, small_cfg

POINT = ShapeSpec(channels=6, height=1, width=1)


def labelled(*classes: int) -> Instances:
    return Instances((9, 9), gt_classes=torch.tensor(classes, dtype=torch.int64))


@pytest.mark.parametrize("num_channels", [1, 4])
def test_point_loss_is_the_cross_entropy_of_the_true_class(num_channels):
    logits, truth = torch.randn(3, num_channels, 5), torch.rand(3, 5)
    truth[1, 2] = -1
    found = roi_mask_point_loss(logits, [labelled(2), labelled(), labelled(0, 3)], truth)
    total = 0.0
    for r, label in enumerate([2, 0, 3]):
        for p in range(5):
            z = logits[r, label % num_channels, p].item()
            y = truth[r, p].item()
            if y >= 0:
                total += math.log1p(math.exp(z)) - y * z
    assert found.item() == pytest.approx(total / 15, rel=1e-5)


def test_point_loss_of_nothing_is_zero_with_a_gradient():
    logits = torch.zeros(0, 3, 5, requires_grad=True)
    loss = roi_mask_point_loss(logits, [labelled()], torch.zeros(0, 5))
    loss.backward()
    assert loss.item() == 0


def test_uncertainty_is_highest_at_the_decision():
    logits = torch.tensor([[[-1.0, 9.0], [0.5, -3.0]]])
    assert calculate_uncertainty(logits, torch.tensor([1])).tolist() == [[[-0.5, -3.0]]]
    assert calculate_uncertainty(logits[:, :1], torch.tensor([1])).tolist() == [[[-1.0, -9.0]]]
    scores = torch.tensor([[[1.0], [5.0], [4.5]]])
    assert uncertainty_of_classes(scores).tolist() == [[[-0.5]]]


@pytest.mark.parametrize("each_layer", [True, False])
def test_standard_head_shows_the_coarse_prediction_to_its_layers(each_layer):
    head = StandardPointHead(
        POINT, num_classes=2, fc_dims=[4, 5], coarse_pred_each_layer=each_layer
    )
    again = 2 if each_layer else 0
    widths = [head.fc1.in_channels, head.fc2.in_channels, head.predictor.in_channels]
    assert widths == [8, 4 + again, 5 + again]
    fine, coarse = torch.randn(3, 6, 7), torch.randn(3, 2, 7)
    found = head(fine, coarse)
    assert found.shape == (3, 2, 7)
    # Each point is judged by itself.
    torch.testing.assert_close(head(fine[..., 2:3], coarse[..., 2:3]), found[..., 2:3])
    agnostic = StandardPointHead(POINT, num_classes=2, fc_dims=[4], cls_agnostic_mask=True)
    assert agnostic(fine, coarse).shape == (3, 1, 7)


def test_implicit_head_runs_the_network_that_its_parameters_are():
    """In numpy: weights of all layers come first, then biases; place before features."""
    head = ImplicitPointHead(POINT, num_classes=2, channels=4, num_layers=3)
    points, fine = torch.rand(2, 5, 2), torch.randn(2, 6, 5)
    parameters = torch.randn(2, head.num_params) * 0.3
    found = head(fine, points, parameters).numpy()
    matrix = head.positional_encoding_gaussian_matrix.numpy()
    for r, p in np.ndindex(2, 5):
        angle = 2 * math.pi * ((2 * points[r, p].numpy() - 1) @ matrix)
        x = np.concatenate([np.sin(angle), np.cos(angle), fine[r, :, p].numpy()])
        rest = parameters[r].numpy()
        weights = []
        for shape in [(4, 262), (4, 4), (2, 4)]:
            weights.append(rest[: math.prod(shape)].reshape(shape))
            rest = rest[math.prod(shape) :]
        for layer, weight in enumerate(weights):
            bias, rest = rest[: len(weight)], rest[len(weight) :]
            x = weight @ (np.maximum(x, 0) if layer else x) + bias
        assert not len(rest)
        np.testing.assert_allclose(found[r, :, p], x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("features", "place", "seen"), [(True, False, 6), (False, True, 256)])
def test_implicit_head_may_be_shown_one_thing_alone(features, place, seen):
    head = ImplicitPointHead(
        POINT,
        num_classes=1,
        channels=4,
        num_layers=2,
        image_feature_enabled=features,
        pos_enc_enabled=place,
    )
    assert head.num_params == seen * 4 + 4 + 4 + 1
    found = head(torch.zeros(1, 6, 3), torch.rand(1, 3, 2), torch.zeros(1, head.num_params))
    assert found.tolist() == [[[0, 0, 0]]]


def test_coarse_head_predicts_any_shape():
    shape = ShapeSpec(channels=12, height=6, width=6)
    head = ConvFCHead(shape, conv_dim=4, fc_dims=[8, 8], output_shape=(3, 5, 5))
    assert head(torch.zeros(2, 12, 6, 6)).shape == (2, 3, 5, 5)
    assert head(torch.zeros(0, 12, 6, 6)).shape == (0, 3, 5, 5)
    assert head.reduce_channel_dim_conv.weight.shape == (4, 12, 1, 1)
    assert CoarseMaskHead is ConvFCHead


def test_weights_of_the_first_release_load():
    """Names changed when the heads became parts of the mask head."""
    cfg = small_cfg("MODEL.ROI_HEADS.NAME", "PointRendROIHeads")
    model = build_model(cfg)
    assert type(model.roi_heads) is PointRendROIHeads
    changes = {
        "mask_head.coarse_head.fc": "mask_coarse_head.coarse_mask_fc",
        "mask_head.coarse_head.": "mask_coarse_head.",
        "mask_head.point_head.": "mask_point_head.",
    }
    old = {}
    for key, value in model.state_dict().items():
        for new_name, old_name in changes.items():
            key = key.replace(new_name, old_name)
        old[key] = value + 1
    assert "roi_heads.mask_coarse_head.coarse_mask_fc2.weight" in old
    wanted = model.roi_heads.mask_head.point_head.fc1.weight + 1
    model.load_state_dict(old)
    assert torch.equal(model.roi_heads.mask_head.point_head.fc1.weight, wanted)


PARTS = {"standard": (), "implicit": IMPLICIT, "semantic": SEMANTIC}
LOSSES = {
    "standard": {"loss_mask", "loss_mask_point"},
    "implicit": {"loss_l2", "loss_mask_point"},
    "semantic": {"loss_sem_seg", "loss_sem_seg_point"},
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("counts", [(3, 2), (0, 2), (0, 0)])
def test_losses_are_finite_and_reach_every_parameter(kind, counts):
    """Also of images, and whole batches, without objects."""
    model = build_model(small_cfg(*PARTS[kind]))
    losses = model([image(0, counts[0]), image(1, counts[1], 48, 80)])
    assert LOSSES[kind] <= set(losses)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_labels_missing_everywhere_give_losses_of_zero():
    model = build_model(small_cfg(*SEMANTIC))
    item = image(0, 0)
    losses = model([{**item, "sem_seg": torch.full_like(item["sem_seg"], 255)}])
    assert [loss.item() for loss in losses.values()] == [0, 0]


@pytest.mark.parametrize("kind", ["standard", "implicit"])
def test_masks_have_the_size_of_the_subdivision(kind):
    """7, 14 (both below 100 points, so it begins with 14), 28; implicit: 10, 20, 40."""
    model = build_model(small_cfg(*PARTS[kind])).eval()
    side = {"standard": 7 * 2**3, "implicit": 10 * 2**2}[kind]
    features = model.backbone(torch.randn(2, 3, 64, 96))
    found = [
        Instances(
            (64, 96),
            pred_boxes=Boxes(torch.tensor([[5.0, 5, 40, 50]] * count).view(-1, 4)),
            pred_classes=torch.arange(count) % NUM_CLASSES,
        )
        for count in (2, 0)
    ]
    with torch.no_grad():
        found = model.roi_heads.mask_head(features, found)
    assert [f.pred_masks.shape for f in found] == [(2, 1, side, side), (0, 1, side, side)]


def test_refining_every_cell_gives_the_point_heads_prediction_everywhere():
    """With as many points as cells, the last step predicts the whole mask."""
    model = build_model(small_cfg("MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", 10**6)).eval()
    head = model.roi_heads.mask_head
    assert head.subdivision.steps == 0
    part = build_model(small_cfg("MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", 10**6)).eval()
    part.load_state_dict(model.state_dict())
    part.roi_heads.mask_head.subdivision = head.subdivision._replace(side=7, steps=3)
    features = model.backbone(torch.randn(1, 3, 64, 96))
    masks = []
    for one in (model, part):
        boxes = Boxes(torch.tensor([[5.0, 5, 40, 50]]))
        found = Instances((64, 96), pred_boxes=boxes, pred_classes=torch.tensor([1]))
        with torch.no_grad():
            masks.append(one.roi_heads.mask_head(features, [found])[0].pred_masks)
    assert masks[0].shape == (1, 1, 56, 56)
    torch.testing.assert_close(*masks)


def test_without_the_point_head_masks_are_coarse():
    model = build_model(small_cfg("MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", False))
    assert "loss_mask_point" not in model([image(0, 2)])
    with torch.no_grad():
        (found,) = model.eval()([image(0, 2)])
    assert found["instances"].pred_masks.shape[1:] == (64, 96)


def test_semantic_scores_reach_the_size_of_the_image():
    model = build_model(small_cfg(*SEMANTIC)).eval()
    with torch.no_grad():
        (found,) = model([image(0, 0)])
    assert found["sem_seg"].shape == (NUM_CLASSES, 64, 96)


def test_points_of_an_image_do_not_depend_on_the_rest_of_the_batch():
    """Their draws follow from the image's key, so that a stopped run goes on exactly."""
    model = build_model(small_cfg(*SEMANTIC))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    keyed = {**image(0, 0), "draw_key": 5}
    first = model([keyed])["loss_sem_seg_point"]
    torch.rand(3)
    assert torch.equal(model([keyed])["loss_sem_seg_point"], first)
    assert not torch.equal(model([{**keyed, "draw_key": 6}])["loss_sem_seg_point"], first)


def test_point_heads_classes_follow_from_the_model():
    cfg = small_cfg()
    build_model(cfg)
    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == NUM_CLASSES
    with pytest.raises(ConfigError, match=r"MODEL\.POINT_HEAD\.NUM_CLASSES is 7"):
        build_model(small_cfg("MODEL.POINT_HEAD.NUM_CLASSES", 7))


@pytest.mark.parametrize(
    ("opts", "text"),
    [
        (("MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlignV2"), "empty text"),
        (("MODEL.POINT_HEAD.IN_FEATURES", ["res2"]), "MODEL.POINT_HEAD.IN_FEATURES"),
        ((*IMPLICIT, "MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", 99), "such as 81"),
        (
            (
                *IMPLICIT,
                *("MODEL.IMPLICIT_POINTREND.IMAGE_FEATURE_ENABLED", False),
                *("MODEL.IMPLICIT_POINTREND.POS_ENC_ENABLED", False),
            ),
            "shown nothing",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_key(opts, text):
    with pytest.raises(ConfigError, match=text):
        build_model(small_cfg(*opts))
