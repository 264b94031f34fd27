"""DeepLab: backbone, heads, loss, keys and samples."""

import numpy as np
import pytest
import torch

from d2lite.config import get_cfg
from d2lite.data import transforms as T
from d2lite.layers import ShapeSpec
from d2lite.modeling import build_model
from d2lite.modeling.backbone import build_backbone
from d2lite.projects import add_project_configs, build_project_mapper
from d2lite.projects.deeplab import DeepLabCE, DeepLabStem, DeepLabV3PlusHead, add_deeplab_config
from d2lite.utils.errors import ConfigError

from .small import NUM_CLASSES, V3, image, small_cfg


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, H, W) the definition, 0 where the label is 255."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wanted = np.where(labels == 255, 0, labels)[:, None]
    picked = -np.take_along_axis(log_probs, wanted, axis=1)[:, 0]
    return np.where(labels == 255, 0, picked)


@pytest.mark.parametrize("share", [1.0, 0.2, 0.05])
@pytest.mark.parametrize("weighted", [False, True])
def test_hard_pixel_loss_is_the_mean_of_the_greatest_pixel_losses(share, weighted):
    logits, labels = torch.randn(2, 3, 6, 10), torch.randint(0, 3, (2, 6, 10))
    labels[0, :2] = 255
    weights = torch.rand(2, 6, 10) * 3 if weighted else None
    losses = cross_entropy(logits.numpy().astype(np.float64), labels.numpy())
    if weights is not None:
        losses = losses * weights.numpy()
    greatest = np.sort(losses.ravel())[::-1][: int(share * losses.size)]
    found = DeepLabCE(ignore_label=255, top_k_percent_pixels=share)(logits, labels, weights)
    assert found.item() == pytest.approx(greatest.mean(), rel=1e-5)


def test_only_hard_pixels_get_a_gradient():
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    DeepLabCE(top_k_percent_pixels=0.2)(logits, torch.zeros(1, 4, 5).long()).backward()
    assert (logits.grad.abs().sum(dim=1) > 0).sum() == 4


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_of_pixels_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match="LOSS_TOP_K"):
        DeepLabCE(top_k_percent_pixels=share)


@pytest.mark.parametrize("loss", ["hard_pixel_mining", "cross_entropy"])
@pytest.mark.parametrize(
    "opts", [(), V3, ("MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV", True)]
)
def test_losses_are_finite_and_reach_every_parameter(opts, loss):
    model = build_model(small_cfg(*opts, "MODEL.SEM_SEG_HEAD.LOSS_TYPE", loss))
    losses = model([image(0), image(1, 48, 101)])
    assert list(losses) == ["loss_sem_seg"]
    losses["loss_sem_seg"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("loss", ["hard_pixel_mining", "cross_entropy"])
def test_a_batch_without_any_label_has_loss_zero(loss):
    model = build_model(small_cfg("MODEL.SEM_SEG_HEAD.LOSS_TYPE", loss))
    batch = [
        {**item, "sem_seg": torch.full_like(item["sem_seg"], 255)} for item in map(image, [0, 1])
    ]
    value = model(batch)["loss_sem_seg"]
    assert value.item() == 0
    value.backward()


@pytest.mark.parametrize("opts", [(), V3])
def test_scores_have_the_size_that_is_asked_for(opts):
    model = build_model(small_cfg(*opts)).eval()
    with torch.no_grad():
        (found,) = model([{**image(), "height": 50, "width": 70}])
    assert found["sem_seg"].shape == (NUM_CLASSES, 50, 70)


def test_dilation_keeps_the_size_of_maps():
    for res4, res5, stride in [(1, 1, 32), (1, 2, 16), (2, 4, 8)]:
        cfg = small_cfg("MODEL.RESNETS.RES4_DILATION", res4, "MODEL.RESNETS.RES5_DILATION", res5)
        backbone = build_backbone(cfg)
        assert backbone.output_shape()["res5"].stride == stride
        assert backbone(torch.zeros(1, 3, 64, 64))["res5"].shape[-1] == 64 // stride
        assert [b.conv2.dilation[0] for b in backbone.res5] == [res5 * f for f in (1, 2, 4)]
        assert {b.conv2.dilation[0] for b in backbone.res4} == {res4}


def test_stem_has_three_convolutions_and_stride_four():
    stem = DeepLabStem(3, 16, norm="BN")
    assert stem(torch.zeros(2, 3, 32, 64)).shape == (2, 16, 8, 16)
    assert [tuple(c.weight.shape) for c in (stem.conv1, stem.conv2, stem.conv3)] == [
        (8, 3, 3, 3),
        (8, 8, 3, 3),
        (16, 8, 3, 3),
    ]


def test_basic_stem_can_be_chosen():
    backbone = build_backbone(small_cfg("MODEL.RESNETS.STEM_TYPE", "basic"))
    assert backbone.stem.conv1.kernel_size == (7, 7)


@pytest.mark.parametrize(
    ("opts", "text"),
    [
        (("MODEL.RESNETS.DEPTH", 18), "DEPTH=18"),
        (("MODEL.RESNETS.STEM_TYPE", "v1d"), "basic or deeplab"),
        (("MODEL.RESNETS.RES4_DILATION", 3), "use 1 or 2"),
        (("MODEL.RESNETS.RES4_DILATION", 2), "needs 4"),
        (("MODEL.RESNETS.RES5_MULTI_GRID", [1, 2]), "3 factors"),
        (("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, False, True]), "leave it False"),
        (("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "focal"), "hard_pixel_mining"),
        (("MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", [6, 6]), "PROJECT_CHANNELS"),
        (("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res3", "res5"]), "OUT_FEATURES"),
        (("MODEL.SEM_SEG_HEAD.NAME", "DeepLabV3Head"), "one map"),
        (("INPUT.CROP.ENABLED", True), "INPUT.CROP.TYPE absolute"),
        (
            (
                "INPUT.CROP.ENABLED",
                True,
                "INPUT.CROP.TYPE",
                "absolute",
                "INPUT.CROP.SIZE",
                [60, 64],
            ),
            "multiples of the encoder's stride, 16",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_key(opts, text):
    with pytest.raises(ConfigError, match=text):
        build_model(small_cfg(*opts))


def test_a_head_without_classes_gives_the_decoded_map():
    shapes = {"a": ShapeSpec(channels=4, stride=4), "b": ShapeSpec(channels=8, stride=16)}
    head = DeepLabV3PlusHead(
        shapes,
        project_channels=[3],
        aspp_dilations=[1, 2, 3],
        aspp_dropout=0.0,
        decoder_channels=[5, 7],
        common_stride=4,
        norm="",
        train_size=None,
    )
    maps = {"a": torch.zeros(2, 4, 8, 12), "b": torch.zeros(2, 8, 2, 3)}
    assert head(maps).shape == (2, 5, 8, 12)


def test_pooling_window_is_that_of_a_training_crop():
    """Published heads pool over a crop's size, so that larger test images are pooled alike."""
    crop = ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [32, 64])
    model = build_model(small_cfg(*crop)).eval()
    aspp = model.sem_seg_head.decoder["res5"]["project_conv"]
    assert aspp.pool_kernel_size == (2, 4)
    with torch.no_grad():
        assert model([image(0, 64, 128)])[0]["sem_seg"].shape[1:] == (64, 128)


def test_keys_that_are_there_keep_their_value():
    cfg = get_cfg()
    add_deeplab_config(cfg)
    cfg.SOLVER.POLY_LR_POWER = 2.0
    add_deeplab_config(cfg)
    assert cfg.SOLVER.POLY_LR_POWER == 2.0


def test_training_crops_come_after_the_resize():
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.merge_from_other_cfg(small_cfg("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute"))
    kinds = [type(step) for step in build_project_mapper(cfg).augmentations.augs]
    assert kinds == [T.ResizeShortestEdge, T.RandomCrop_CategoryAreaConstraint, T.RandomFlip]
    cfg.INPUT.AUGMENTATIONS = ["RandomFlip"]
    assert [type(step) for step in build_project_mapper(cfg).augmentations.augs] == [T.RandomFlip]
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    assert build_project_mapper(cfg) is None
