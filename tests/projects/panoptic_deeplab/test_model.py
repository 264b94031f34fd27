"""The model: losses against their definition, results, keys, and a whole run by the tools."""

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.projects import build_project_mapper
from d2lite.projects.panoptic_deeplab import (
    PanopticDeeplabDatasetMapper,
    add_panoptic_deeplab_config,
)

from .small import NUM_CLASSES, image, small_cfg

SEPARABLE = (
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV", True,
    "MODEL.PANOPTIC_DEEPLAB.USE_DEPTHWISE_SEPARABLE_CONV", True,
)  # fmt: skip


@pytest.mark.parametrize("opts", [(), SEPARABLE, ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "cross_entropy")])
@pytest.mark.parametrize("counts", [(3, 1), (0, 2), (0, 0)])
def test_losses_are_finite_and_reach_every_parameter(opts, counts):
    """Also of images, and whole batches, without objects; sizes that the stride does not divide."""
    model = build_model(small_cfg(*opts))
    losses = model([image(0, counts[0]), image(1, counts[1], 50, 90)])
    assert list(losses) == ["loss_sem_seg", "loss_center", "loss_offset"]
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_losses_of_centres_and_offsets_are_weighted_means():
    head = build_model(small_cfg()).ins_embed_head
    centers, offsets = torch.randn(2, 1, 8, 10), torch.randn(2, 2, 8, 10)
    item = [image(0, 2, 32, 40), image(1, 0, 32, 40)]
    batch = {key: torch.stack([i[key] for i in item]) for key in item[0] if "_weights" in key}
    center = torch.stack([i["center"] for i in item])[:, None]
    offset = torch.stack([i["offset"] for i in item])
    full = torch.nn.Upsample(scale_factor=4, mode="bilinear")
    weights = batch["center_weights"][:, None]
    expected = ((full(centers) - center) ** 2 * weights).sum() / weights.sum() * 200
    found = head.center_losses(centers, center, weights)["loss_center"]
    torch.testing.assert_close(found, expected)
    weights = batch["offset_weights"][:, None]
    expected = ((full(offsets) * 4 - offset).abs() * weights).sum() / weights.sum() * 0.01
    found = head.offset_losses(offsets, offset, weights)["loss_offset"]
    torch.testing.assert_close(found, expected)


def test_semantic_weights_may_be_left_out():
    model = build_model(small_cfg())
    item = image(0, 2)
    item.pop("sem_seg_weights")
    assert model([item])["loss_sem_seg"].isfinite()


def test_padding_reaches_multiples_of_the_key():
    model = build_model(small_cfg("MODEL.PANOPTIC_DEEPLAB.SIZE_DIVISIBILITY", 40))
    images = model.preprocess_image([image(0, 1), image(1, 1, 50, 90)])
    assert images.tensor.shape == (2, 3, 80, 120)
    assert images.image_sizes == [(64, 96), (50, 90)]
    assert model([image(0, 1)])["loss_center"].isfinite()


class Answers(torch.nn.Module):
    """A head that gives what it is told."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = answers

    def forward(self, features):
        return self.answers


def answering_model(*opts):
    """Two objects of class 3 on ground (5), in an input of 16 x 24."""
    model = build_model(small_cfg("MODEL.PANOPTIC_DEEPLAB.STUFF_AREA", 10, *opts)).eval()
    scores = torch.zeros(1, NUM_CLASSES, 16, 24)
    scores[:, 5] = 2.0
    center, offset = torch.zeros(1, 1, 16, 24), torch.zeros(1, 2, 16, 24)
    for left in (2, 14):
        scores[:, 3, 4:10, left : left + 8] = 4.0
        center[:, :, 7, left + 4] = 0.9
    model.sem_seg_head = Answers(scores, {})
    model.ins_embed_head = Answers(center, offset, {}, {})
    return model


def test_objects_have_masks_boxes_and_scores():
    """Score: mean probability of the class, times the height of the centre in the middle."""
    model = answering_model()
    with torch.no_grad():
        (found,) = model([{"image": torch.zeros(3, 16, 24, dtype=torch.uint8)}])
    labels, segments = found["panoptic_seg"]
    assert segments is None
    assert labels.unique().tolist() == [3001, 3002, 5000]
    objects = found["instances"]
    assert objects.pred_classes.tolist() == [3, 3]
    assert objects.pred_boxes.tensor.tolist() == [[2, 4, 10, 10], [14, 4, 22, 10]]
    assert torch.equal(objects.pred_masks[0], labels == 3001)
    # The middle, (6.5, 5.5), is in the pixel (6, 5); its height there is that of the map.
    assert objects.scores.tolist() == [0, 0]
    model.ins_embed_head.answers[0][:] = 0.05
    model.ins_embed_head.answers[0][0, 0, 6, [5, 17]] = torch.tensor([0.9, 0.5])
    with torch.no_grad():
        (found,) = model([{"image": torch.zeros(3, 16, 24, dtype=torch.uint8)}])
    own = torch.tensor([0, 0, 0, 4.0, 0, 2.0]).softmax(0)[3].item()
    assert found["instances"].scores.tolist() == pytest.approx([0.9 * own, 0.5 * own])


@pytest.mark.parametrize("is_scaled", [True, False])
def test_offsets_may_be_scaled_with_the_result(is_scaled):
    """Published results leave them; then pixels of an enlarged image point only half as far."""
    model = answering_model("MODEL.PANOPTIC_DEEPLAB.SCALE_OFFSETS", is_scaled)
    center, offset = model.ins_embed_head.answers[:2]
    # A slope to one side, so that the enlarged peak is one pixel.
    center[0, 0, 8, [6, 18]], center[0, 0, 7, [7, 19]] = 0.5, 0.5
    offset[0, 1] = 12.0  # all of the left object belong to the right centre
    with torch.no_grad():
        (found,) = model([{"image": torch.zeros(3, 16, 24), "height": 32, "width": 48}])
    labels = found["panoptic_seg"][0]
    assert labels.shape == (32, 48)
    assert bool((labels == 3002).any()) != is_scaled


def test_nothing_found_gives_empty_objects():
    model = answering_model()
    model.ins_embed_head.answers[0].zero_()
    with torch.no_grad():
        (found,) = model([{"image": torch.zeros(3, 16, 24)}])
    assert found["panoptic_seg"][0].unique().tolist() == [-1, 5000]
    assert len(found["instances"]) == 0
    assert found["instances"].pred_masks.shape == (0, 16, 24)


def test_results_may_be_left_out():
    item = {"image": torch.zeros(3, 16, 24)}
    with torch.no_grad():
        model = answering_model("MODEL.PANOPTIC_DEEPLAB.PREDICT_INSTANCES", False)
        assert "instances" not in model([item])[0]
        model = answering_model("MODEL.PANOPTIC_DEEPLAB.BENCHMARK_NETWORK_SPEED", True)
        assert model([item]) == []


def test_its_optimizer_is_adam_unless_somebody_says_otherwise():
    cfg = get_cfg()
    add_panoptic_deeplab_config(cfg)
    assert cfg.SOLVER.OPTIMIZER == "ADAM"
    cfg = get_cfg()
    cfg.SOLVER.OPTIMIZER = "SGD"
    add_panoptic_deeplab_config(cfg)
    assert cfg.SOLVER.OPTIMIZER == "SGD"
    name = "panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32_crop_512_1024.yaml"
    assert setup_cfg(name).SOLVER.OPTIMIZER == "ADAM"


def test_a_published_file_trains_with_adam_in_every_tool():
    """Such files do not name it: it is the default of the project's function."""
    cfg = setup_cfg()
    cfg.merge_from_other_cfg(small_cfg())
    cfg.merge_from_list(["SOLVER.OPTIMIZER", "SGD"], origin="default")
    build_model(cfg)
    assert cfg.SOLVER.OPTIMIZER == "ADAM"


def test_tools_take_its_mapper():
    assert isinstance(build_project_mapper(small_cfg()), PanopticDeeplabDatasetMapper)
