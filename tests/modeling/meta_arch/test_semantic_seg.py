"""The semantic head and the model around it: shapes, the loss by definition, and padding."""

import pytest
import torch
import torch.nn.functional as F

from d2lite.layers import ShapeSpec
from d2lite.modeling import SEM_SEG_HEADS_REGISTRY, build_model, build_sem_seg_head
from d2lite.modeling.meta_arch import SemSegFPNHead
from d2lite.modeling.meta_arch.semantic_seg import batch_label_maps
from d2lite.utils.errors import ConfigError, DataError, UnknownNameError

from .tiny import item, rcnn_config

SHAPES = {f"p{n}": ShapeSpec(channels=4, stride=2**n) for n in (5, 2, 4, 3)}


def semantic_config(architecture="SemanticSegmentor"):
    cfg = rcnn_config(architecture)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 5
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    return cfg


def labelled(height, width, seed):
    example = item(height, width, [], seed)
    generator = torch.Generator().manual_seed(seed)
    example["sem_seg"] = torch.randint(0, 5, (height, width), generator=generator)
    example["sem_seg"][:3] = 255
    return example


def batch():
    return [labelled(64, 96, 1), labelled(96, 80, 2)]


def head(**kwargs):
    arguments = {"num_classes": 5, "conv_dims": 8, "common_stride": 4, "ignore_value": 255}
    return SemSegFPNHead(SHAPES, **{**arguments, **kwargs})


def features():
    return {name: torch.randn(2, 4, 64 // s.stride, 32 // s.stride) for name, s in SHAPES.items()}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(semantic_config())


def test_parameters_bear_the_names_of_levels_and_of_published_weights():
    names = set(head(norm="").state_dict())
    convs = {"p2.0", "p3.0", "p4.0", "p4.2", "p5.0", "p5.2", "p5.4", "predictor"}
    assert names == {f"{conv}.{kind}" for conv in convs for kind in ("weight", "bias")}


def test_convolutions_before_a_norm_have_no_bias():
    names = set(head(norm="BN").state_dict())
    assert "p2.0.norm.weight" in names
    assert "p2.0.bias" not in names


def test_scores_have_the_size_of_the_image():
    scores, losses = head().eval()(features())
    assert scores.shape == (2, 5, 64, 32)
    assert losses == {}


def test_the_sum_over_levels_is_what_the_predictor_gets():
    module, maps = head().eval(), features()
    total = sum(getattr(module, name)(maps[name]) for name in ("p2", "p3", "p4", "p5"))
    torch.testing.assert_close(module.layers(maps), module.predictor(total))


def test_the_loss_is_the_mean_over_labelled_pixels():
    module, maps = head(loss_weight=0.5), features()
    labels = torch.randint(0, 5, (2, 64, 32))
    labels[:, :10] = 255
    nothing, losses = module(maps, labels)
    assert nothing is None
    scores = F.interpolate(module.layers(maps), scale_factor=4, mode="bilinear").log_softmax(1)
    of_truth = scores.gather(1, labels.clamp(max=4)[:, None])[:, 0]
    expected = -0.5 * of_truth[labels != 255].mean()
    torch.testing.assert_close(losses["loss_sem_seg"], expected)


def test_a_batch_without_any_label_has_no_loss_and_finite_gradients():
    """The mean over no pixel is NaN, which would end a training."""
    module = head()
    loss = module(features(), torch.full((2, 64, 32), 255))[1]["loss_sem_seg"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_training_without_targets_is_refused():
    with pytest.raises(ValueError, match="needs targets"):
        head()(features())


@pytest.mark.parametrize("stride", [8, 3])
def test_levels_that_no_doubling_brings_to_the_common_stride_are_refused(stride):
    with pytest.raises(ConfigError, match=r"'p2' of stride 4 .*COMMON_STRIDE"):
        head(common_stride=stride)


def test_a_head_without_maps_is_refused():
    with pytest.raises(ValueError, match="IN_FEATURES"):
        SemSegFPNHead({}, num_classes=5, conv_dims=8, common_stride=4)


def test_a_missing_map_is_refused_with_those_that_there_are():
    present = {name: SHAPES[name] for name in ("p2", "p3")}
    with pytest.raises(ConfigError, match=r"\['p4', 'p5'\]; it has \['p2', 'p3'\]"):
        build_sem_seg_head(semantic_config(), present)


def test_an_unknown_head_is_told_with_those_that_exist():
    cfg = semantic_config()
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFpnHead"
    with pytest.raises(UnknownNameError, match="SemSegFPNHead"):
        build_sem_seg_head(cfg, SHAPES)
    assert "SemSegFPNHead" in SEM_SEG_HEADS_REGISTRY


def test_padding_of_label_maps_is_ignored_also_for_negative_marks(model):
    maps = [torch.ones(40, 30, dtype=torch.uint8), torch.ones(20, 50, dtype=torch.uint8)]
    padded = batch_label_maps(maps, model.backbone, -1)
    assert padded.shape == (2, 64, 64)
    assert padded.dtype == torch.int64
    assert padded[0, :40, :30].eq(1).all()
    assert padded.eq(1).sum() == 40 * 30 + 20 * 50
    assert padded.eq(-1).sum() == padded.numel() - 40 * 30 - 20 * 50


def test_a_model_learns_from_maps_of_several_sizes(model):
    model.train()
    loss = model(batch())["loss_sem_seg"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in model.sem_seg_head.parameters())


def test_learning_without_maps_names_what_is_missing(model):
    model.train()
    with pytest.raises(DataError, match="'sem_seg'"):
        model([item(64, 96, [])])


def test_scores_come_in_the_size_that_is_asked_for(model):
    model.eval()
    with torch.no_grad():
        results = model(batch())
        alone = model([{"image": batch()[0]["image"]}])
    assert [r["sem_seg"].shape for r in results] == [(5, 128, 192), (5, 192, 160)]
    assert alone[0]["sem_seg"].shape == (5, 64, 96)
