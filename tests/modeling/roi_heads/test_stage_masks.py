"""Cascade Mask R-CNN with a mask head for each stage, and what is averaged over stages."""

import pytest
import torch

from d2lite.modeling.roi_heads import build_roi_heads
from d2lite.modeling.roi_heads.stage_masks import StageMaskHeads
from d2lite.structures import pairwise_iou
from d2lite.utils.errors import ConfigError

from .conftest import SHAPES, images, maps, proposals_of, targets_of

BOXES = [[4, 4, 40, 40], [30, 10, 90, 60], [50, 20, 70, 50]]
WEIGHTS = [1.0, 0.5, 0.25]


@pytest.fixture
def cascade(cfg):
    cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    cfg.MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS = True
    return cfg


def _built(cfg, *options):
    torch.manual_seed(0)
    cfg.merge_from_list([*options])
    return build_roi_heads(cfg, SHAPES)


def _losses(heads, features, targets=None):
    torch.manual_seed(0)
    targets = [targets_of(BOXES, [0, 1, 2])] if targets is None else targets
    proposals = [proposals_of(BOXES) for _ in targets]
    return heads.train()(images(len(targets)), features, proposals, targets)[1]


@pytest.mark.parametrize("classes", [[0, 1, 2], []])
def test_each_stage_has_a_loss_of_masks_that_reaches_its_head(cascade, classes):
    """Also in a batch in which one image, or each, is without objects."""
    heads = _built(cascade)
    targets = [targets_of(BOXES[: len(classes)], classes), targets_of([], [])]
    losses = _losses(heads, maps(2), targets)
    parts = ("cls", "box_reg", "mask")
    assert set(losses) == {f"loss_{part}_stage{k}" for part in parts for k in range(3)}
    sum(losses.values()).backward()
    for name, parameter in heads.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert bool(classes) <= bool(parameter.grad.any()) or "mask_head" not in name, name


def test_masks_of_a_stage_are_trained_on_the_boxes_of_that_stage(cascade):
    heads = _built(cascade, "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0)
    # Each stage moves its boxes by a tenth of their width: 0.1 * 10, then 0.1 * 20.
    for predictor, shift in zip(heads.box_predictor, (1.0, 2.0, 0.0), strict=True):
        torch.nn.init.zeros_(predictor.bbox_pred.weight)
        predictor.bbox_pred.bias.data[0] = shift
    seen = []
    for head in heads.mask_head:
        head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1][0]))
    _losses(heads, maps(1))
    truth = torch.tensor(BOXES).float()
    for stage, (found, iou) in enumerate(zip(seen, (0.5, 0.6, 0.7), strict=True)):
        boxes = found.proposal_boxes
        moved = truth + stage * 0.1 * (truth[:, 2:3] - truth[:, :1]) * torch.tensor([1, 0, 1, 0])
        moved[:, 2].clamp_(max=96)
        own = [(boxes.tensor - box).abs().amax(dim=1).min() < 1e-3 for box in moved]
        overlaps = pairwise_iou(boxes, found.gt_boxes).diagonal()
        assert all(own) == (stage < 2), stage
        assert (overlaps >= iou).all()
        assert len(found.gt_masks) == len(boxes) == (6 if stage < 2 else 2)


def test_detections_get_the_mean_of_the_probabilities_of_all_stages(cascade):
    heads = _built(cascade).eval()
    for head in heads.mask_head:
        torch.nn.init.normal_(head.predictor.weight, std=3.0)
    features = maps(1)
    with torch.no_grad():
        (found,), _ = heads(images(1), features, [proposals_of(BOXES)])
        pooled = heads.mask_pooler([features["p2"], features["p3"]], [found.pred_boxes])
        probs = torch.stack([head.layers(pooled).sigmoid() for head in heads.mask_head]).mean(dim=0)
    own = probs[torch.arange(len(found)), found.pred_classes][:, None]
    assert own.std() > 0.1
    torch.testing.assert_close(found.pred_masks, own)


def test_factors_on_stages_take_the_place_of_the_mean_gradient(cascade):
    features = [{name: x.detach().requires_grad_() for name, x in maps(1).items()}]
    features.append({name: x.detach().clone().requires_grad_() for name, x in features[0].items()})
    plain = _losses(_built(cascade), features[0])
    heads = _built(cascade, "MODEL.ROI_BOX_CASCADE_HEAD.LOSS_WEIGHTS", WEIGHTS)
    weighted = _losses(heads, features[1])
    for name, value in weighted.items():
        torch.testing.assert_close(value, plain[name] * WEIGHTS[int(name[-1])])
    for name in ("loss_cls_stage0", "loss_mask_stage0"):
        (mean,) = torch.autograd.grad(plain[name], features[0]["p2"], retain_graph=True)
        (whole,) = torch.autograd.grad(weighted[name], features[1]["p2"], retain_graph=True)
        torch.testing.assert_close(whole, 3 * mean)


def test_scores_can_be_averaged_before_they_become_probabilities(cascade):
    heads = _built(cascade, "MODEL.ROI_BOX_CASCADE_HEAD.AVERAGE", "logits").eval()
    biases = torch.tensor([[4.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 1.0, 0]])
    for predictor, bias in zip(heads.box_predictor, biases, strict=True):
        torch.nn.init.zeros_(predictor.cls_score.weight)
        predictor.cls_score.bias.data = bias
    with torch.no_grad():
        (found,), _ = heads(images(1), maps(1), [proposals_of(BOXES[:1])])
    expected = biases.mean(dim=0).softmax(dim=0)
    torch.testing.assert_close(found.scores, expected[:3])
    assert found.pred_classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("AVERAGE", "scores", "AVERAGE='scores'"), ("LOSS_WEIGHTS", [1.0], "each of the 3 stages")],
)
def test_settings_of_stages_that_do_not_fit_are_refused(cascade, key, value, message):
    with pytest.raises(ConfigError, match=message):
        _built(cascade, f"MODEL.ROI_BOX_CASCADE_HEAD.{key}", value)


def test_heads_on_whole_maps_are_refused():
    """As those of PointRend, which take points of the maps themselves."""
    with pytest.raises(ConfigError, match="Linear cannot be made once a stage"):
        StageMaskHeads([torch.nn.Linear(1, 1)])
