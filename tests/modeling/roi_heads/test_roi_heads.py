import pytest
import torch

from d2lite.layers import ShapeSpec
from d2lite.modeling.roi_heads import (
    FastRCNNConvFCHead,
    MaskRCNNConvUpsampleHead,
    Res5ROIHeads,
    StandardROIHeads,
    build_roi_heads,
)
from d2lite.modeling.roi_heads.cascade_rcnn import _ScaleGradient
from d2lite.modeling.roi_heads.keypoint_head import keypoint_rcnn_loss
from d2lite.modeling.roi_heads.mask_head import mask_rcnn_inference, mask_rcnn_loss
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import EventStorage

from .conftest import NUM_CLASSES, SHAPES, SIZE, images, maps, proposals_of, targets_of

BOXES = [[4, 4, 40, 40], [30, 10, 90, 60], [50, 20, 70, 50]]


def _cascade(cfg):
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True


def _c4(cfg):
    cfg.MODEL.ROI_HEADS.NAME = "Res5ROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
    cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 2
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 2


def _build(cfg, kind):
    if kind == "cascade":
        _cascade(cfg)
    if kind == "c4":
        _c4(cfg)
        return build_roi_heads(cfg, {"res4": ShapeSpec(channels=8, stride=4)})
    return build_roi_heads(cfg, SHAPES)


def _features(kind, num_images):
    features = maps(num_images)
    return {"res4": features["p2"]} if kind == "c4" else features


KINDS = pytest.mark.parametrize("kind", ["standard", "cascade", "c4"])


@KINDS
@pytest.mark.parametrize("truth", ["objects", "none", "mixed", "no proposals either"])
def test_losses_are_finite_and_reach_every_parameter(cfg, kind, truth):
    """Also in a batch without any object, where heads of rare branches see nothing at all."""
    if truth == "no proposals either":
        cfg.MODEL.ROI_HEADS.PROPOSAL_APPEND_GT = False
    heads = _build(cfg, kind).train()
    some, none = targets_of(BOXES[:2], [0, 2]), targets_of([], [])
    targets = {"objects": [some, some], "mixed": [some, none]}.get(truth, [none, none])
    proposals = [proposals_of([] if truth == "no proposals either" else BOXES) for _ in range(2)]
    _, losses = heads(images(2), _features(kind, 2), proposals, targets)
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    for name, parameter in heads.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@KINDS
@pytest.mark.parametrize("has_proposals", [True, False])
def test_inference_gives_every_field_also_without_detections(cfg, kind, has_proposals):
    heads = _build(cfg, kind).eval()
    proposals = [proposals_of(BOXES if has_proposals else []), proposals_of(BOXES[:1])]
    with torch.no_grad():
        detections, losses = heads(images(2), _features(kind, 2), proposals)
    assert losses == {}
    assert (len(detections[0]) > 0) is has_proposals
    for found in detections:
        side = found.pred_masks.shape[-1]
        assert found.pred_masks.shape == (len(found), 1, side, side)
        if kind != "c4":
            assert found.pred_keypoints.shape == (len(found), 4, 3)


@KINDS
def test_batch_equals_its_images_one_by_one(cfg, kind):
    heads = _build(cfg, kind).eval()
    features = _features(kind, 2)
    proposals = [proposals_of(BOXES), proposals_of(BOXES[1:])]
    with torch.no_grad():
        together, _ = heads(images(2), features, proposals)
        for i in range(2):
            one = {name: x[i : i + 1] for name, x in features.items()}
            (alone,), _ = heads(images(1), one, proposals[i : i + 1])
            assert alone.pred_classes.tolist() == together[i].pred_classes.tolist()
            torch.testing.assert_close(alone.pred_boxes.tensor, together[i].pred_boxes.tensor)
            torch.testing.assert_close(alone.pred_masks, together[i].pred_masks)


def test_training_needs_no_storage_and_names_its_losses(cfg):
    heads = _build(cfg, "cascade").train()
    _, losses = heads(images(1), maps(1), [proposals_of(BOXES)], [targets_of(BOXES[:1], [1])])
    stages = {f"loss_{part}_stage{k}" for part in ("cls", "box_reg") for k in range(3)}
    assert set(losses) == stages | {"loss_mask", "loss_keypoint"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_cascade_that_diverges_has_a_loss_that_tells(cfg, value):
    """So the message names its images, and SOLVER.NONFINITE.ACTION skip can leave the step out."""
    heads = _build(cfg, "cascade").train()
    torch.nn.init.constant_(heads.box_predictor[0].bbox_pred.bias, value)
    _, losses = heads(images(1), maps(1), [proposals_of(BOXES)], [targets_of(BOXES[:1], [1])])
    assert not losses["loss_box_reg_stage0"].isfinite()


def test_cascade_logs_each_stage_under_its_name(cfg):
    heads = _build(cfg, "cascade").train()
    with EventStorage() as storage:
        heads(images(1), maps(1), [proposals_of(BOXES)], [targets_of(BOXES[:1], [1])])
    names = set(storage.latest())
    assert {"stage0/fast_rcnn/cls_accuracy", "stage2/fast_rcnn/cls_accuracy"} <= names
    assert {"stage1/roi_head/num_fg_samples", "mask_rcnn/accuracy"} <= names
    assert "keypoint_head/num_fg_samples" in names


def test_gradient_of_cascade_features_is_the_mean_over_stages(cfg):
    """Source: Cai 2018; a third of each stage's gradient reaches the backbone."""
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    heads = _build(cfg, "cascade").train()
    features = maps(1)
    proposals = [proposals_of(BOXES)]
    pooled = heads.box_pooler(list(features.values()), [proposals[0].proposal_boxes])
    scores, _ = heads.box_predictor[0](heads.box_head[0](pooled))
    (whole,) = torch.autograd.grad(scores.sum(), features["p2"])
    scores, _ = heads._run_stage(list(features.values()), proposals, 0)
    (part,) = torch.autograd.grad(scores.sum(), features["p2"])
    torch.testing.assert_close(part, whole / 3)


def test_masks_can_be_trained_on_predicted_boxes(cfg):
    cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = True
    heads = _build(cfg, "standard").train()
    torch.nn.init.normal_(heads.box_predictor.bbox_pred.weight)
    proposals, losses = heads(
        images(1), maps(1), [proposals_of(BOXES)], [targets_of(BOXES, [0, 1, 2])]
    )
    assert proposals[0].proposal_boxes.tensor[0].tolist() not in BOXES
    assert not proposals[0].proposal_boxes.tensor.requires_grad
    assert losses["loss_mask"].isfinite()


def test_given_boxes_get_masks_and_keypoints(cfg):
    heads = _build(cfg, "standard").eval()
    given = Instances(SIZE, pred_boxes=Boxes(torch.tensor(BOXES).float()))
    given.pred_classes = torch.tensor([0, 1, 2])
    with torch.no_grad():
        (found,) = heads.forward_with_given_boxes(maps(1), [given])
    assert found.pred_masks.shape == (3, 1, 10, 10)
    assert found.pred_keypoints.shape == (3, 4, 3)


def test_training_without_targets_says_what_is_missing(cfg):
    heads = _build(cfg, "standard").train()
    with pytest.raises(ValueError, match="need targets"):
        heads(images(1), maps(1), [proposals_of(BOXES)])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False, "CLS_AGNOSTIC"),
        ("ROI_BOX_CASCADE_HEAD.IOUS", (0.6, 0.7, 0.8), "make them equal"),
        ("ROI_BOX_CASCADE_HEAD.IOUS", (0.5,), "one of each a stage"),
    ],
)
def test_cascade_that_does_not_fit_together_is_refused(cfg, key, value, message):
    _cascade(cfg)
    cfg.merge_from_list([f"MODEL.{key}", value])
    with pytest.raises(ConfigError, match=message):
        build_roi_heads(cfg, SHAPES)


def test_c4_heads_with_keypoints_are_refused(cfg):
    _c4(cfg)
    cfg.MODEL.KEYPOINT_ON = True
    with pytest.raises(ConfigError, match="NAME StandardROIHeads"):
        build_roi_heads(cfg, {"res4": ShapeSpec(channels=8, stride=4)})


def test_c4_heads_of_a_shallow_network_have_bottleneck_blocks(cfg):
    _c4(cfg)
    cfg.MODEL.RESNETS.DEPTH = 18
    res4 = ShapeSpec(channels=4 * cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, stride=16)
    heads = build_roi_heads(cfg, {"res4": res4})
    assert heads.res5[0].conv1.in_channels == res4.channels
    assert heads.res5[2].conv3.out_channels == 2 * res4.channels


def test_c4_heads_with_deformation_in_res5_are_refused(cfg):
    _c4(cfg)
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, True]
    with pytest.raises(ConfigError, match="last value to False"):
        build_roi_heads(cfg, {"res4": ShapeSpec(channels=8, stride=4)})


def test_box_head_without_layers_is_refused():
    with pytest.raises(ConfigError, match=r"MODEL\.ROI_BOX_HEAD\.NUM_FC"):
        FastRCNNConvFCHead(ShapeSpec(channels=4, height=3, width=3), conv_dims=[], fc_dims=[])


def test_box_head_tells_its_output_shape():
    shape = ShapeSpec(channels=4, height=3, width=3)
    flat = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[10], conv_norm="")
    assert flat(torch.zeros(2, 4, 3, 3)).shape == (2, 10)
    assert flat.output_shape.channels == 10
    spatial = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[])
    assert spatial(torch.zeros(0, 4, 3, 3)).shape == (0, 6, 3, 3)
    assert spatial.output_shape.height == 3


def test_heads_can_be_walked_through_by_their_kinds_of_layers():
    """Heads written for detectron2 do so in a `forward` or `layers` of their own."""
    shape, regions = ShapeSpec(channels=4, height=3, width=3), torch.rand(2, 4, 3, 3)
    boxes = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[10, 5], conv_norm="")
    x = regions
    for layer in boxes.conv_norm_relus:
        x = layer(x)
    x = x.flatten(1)
    for layer in boxes.fcs:
        x = layer(x).relu()
    assert x.equal(boxes(regions))
    masks = MaskRCNNConvUpsampleHead(shape, num_classes=2, conv_dims=[6, 7, 8])
    x = regions
    for layer in masks.conv_norm_relus:
        x = layer(x)
    assert masks.predictor(masks.deconv(x).relu()).equal(masks.layers(regions))


def test_mask_loss_reads_the_true_class_inside_the_box():
    """Source: a mask that fills its box; logit 2 inside costs log(1 + exp(-2)) in every cell."""
    found = proposals_of([BOXES[0]])
    target = targets_of([BOXES[0]], [1])
    found.gt_classes, found.gt_masks = target.gt_classes, target.gt_masks
    logits = torch.full((1, NUM_CLASSES, 7, 7), -9.0)
    logits[:, 1] = 2.0
    loss = mask_rcnn_loss(logits, [found])
    assert loss == pytest.approx(torch.tensor(-2.0).exp().log1p().item())
    agnostic = mask_rcnn_loss(logits[:, 1:2], [found])
    assert agnostic == loss


def test_mask_inference_reads_the_predicted_class():
    logits = torch.zeros(2, NUM_CLASSES, 3, 3)
    logits[1, 2] = 50
    found = Instances(SIZE, pred_classes=torch.tensor([0, 2]))
    mask_rcnn_inference(logits, [found])
    assert found.pred_masks[:, 0, 0, 0].tolist() == pytest.approx([0.5, 1.0])


def test_mask_predictions_can_be_looked_at_while_training():
    found = proposals_of([BOXES[0]])
    target = targets_of([BOXES[0]], [1])
    found.gt_classes, found.gt_masks = target.gt_classes, target.gt_masks
    head = MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=2), num_classes=NUM_CLASSES, conv_dims=[4], vis_period=1
    )
    with EventStorage() as storage:
        head(torch.zeros(1, 2, 7, 7), [found])
    assert len(storage.images) == 1


def test_keypoint_loss_counts_visible_points_only():
    """Source: uniform logits over 5 x 5 cells cost log(25) a point, whatever the normaliser."""
    target = targets_of([BOXES[0]], [0])
    target.gt_keypoints.tensor[0, 2:, 2] = 0
    found = proposals_of([BOXES[0]])
    found.gt_keypoints = target.gt_keypoints
    logits = torch.zeros(1, 4, 5, 5)
    per_point = torch.tensor(25.0).log().item()
    assert keypoint_rcnn_loss(logits, [found], None) == pytest.approx(per_point)
    assert keypoint_rcnn_loss(logits, [found], 8.0) == pytest.approx(2 * per_point / 8)


def test_keypoint_loss_without_visible_points_is_zero_with_a_gradient():
    target = targets_of([BOXES[0]], [0])
    target.gt_keypoints.tensor[..., 2] = 0
    found = proposals_of([BOXES[0]])
    found.gt_keypoints = target.gt_keypoints
    logits = torch.randn(1, 4, 5, 5).requires_grad_()
    loss = keypoint_rcnn_loss(logits, [found], None)
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0


def test_gradient_of_a_stage_can_be_scaled_by_cascades_that_people_wrote():
    x = torch.ones(2, requires_grad=True)
    scaled = _ScaleGradient.apply(x, 0.25)
    scaled.sum().backward()
    assert scaled.tolist() == [1, 1]
    assert x.grad.tolist() == [0.25, 0.25]


def test_branch_that_the_constructor_of_a_subclass_makes_is_made_once(cfg):
    class MasksOfOnesOwn(StandardROIHeads):
        def __init__(self, cfg, input_shape):
            super().__init__(cfg, input_shape)
            assert not self.mask_on
            self._init_mask_head(cfg, input_shape)

        def _init_mask_head(self, cfg, input_shape):
            self.made = [*getattr(self, "made", ()), len(input_shape)]

    heads = MasksOfOnesOwn(cfg, SHAPES)
    assert heads.made == [2]
    assert heads.keypoint_on


def test_res5_of_a_subclass_needs_no_classmethod(cfg):
    """As MoCo adds a norm."""

    class WithNorm(Res5ROIHeads):
        def _build_res5_block(self, cfg):
            blocks, channels = super()._build_res5_block(cfg)
            blocks.add_module("norm", torch.nn.BatchNorm2d(channels))
            return blocks, channels

    _c4(cfg)
    heads = WithNorm(cfg, {"res4": ShapeSpec(channels=8, stride=4)})
    assert isinstance(heads.res5.norm, torch.nn.BatchNorm2d)


@pytest.mark.parametrize("kind", ["standard", "cascade"])
def test_ohem_trains_on_the_proposals_of_the_largest_loss(cfg, kind):
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.ROI_HEADS.SAMPLER = "ohem"
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 4
    heads = _build(cfg, kind).train()
    features = maps(2)
    proposals = [proposals_of([[i, 4, i + 20, 30] for i in range(0, 70, 5)]) for _ in range(2)]
    target = targets_of([], [])
    drawn, losses = heads(images(2), features, proposals, [target, target])
    sum(losses.values()).backward()
    with torch.no_grad():
        pooled = heads.box_pooler(
            [features["p2"], features["p3"]],
            [proposals_of([]).proposal_boxes, proposals[1].proposal_boxes],
        )
        predictor, head = heads.box_predictor, heads.box_head
        if kind == "cascade":
            predictor, head = predictor[0], head[0]
        background = predictor(head(pooled))[0].softmax(dim=1)[:, -1]
    hardest = background.argsort()[:4].sort().values
    found = drawn[1].proposal_boxes.tensor[:, 0].sort().values
    assert found.tolist() == proposals[1].proposal_boxes.tensor[hardest, 0].tolist()


@pytest.mark.parametrize("kind", ["standard", "cascade"])
@pytest.mark.parametrize("name", ["seesaw", "equalized", "class_balanced"])
def test_losses_for_long_tailed_classes_train_and_detect(cfg, kind, name):
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.ROI_BOX_HEAD.CLASS_LOSS = name
    heads = _build(cfg, kind)
    some, none = targets_of(BOXES[:2], [0, 2]), targets_of([], [])
    proposals = [proposals_of(BOXES), proposals_of([])]
    for targets in ([some, none], [none, none]):
        _, losses = heads.train()(images(2), maps(2), proposals, targets)
        sum(losses.values()).backward()
        for parameter in heads.parameters():
            assert parameter.grad.isfinite().all()
    with torch.no_grad():
        found, _ = heads.eval()(images(2), maps(2), proposals)
    assert len(found[0]) > 0
    assert (found[0].pred_classes < NUM_CLASSES).all()


def test_unknown_class_losses_are_refused(cfg):
    cfg.MODEL.ROI_BOX_HEAD.CLASS_LOSS = "focal"
    with pytest.raises(ConfigError, match=r"CLASS_LOSS='focal': use one of \['seesaw'"):
        _build(cfg, "standard")
    cfg.MODEL.ROI_BOX_HEAD.CLASS_LOSS = "seesaw"
    cfg.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = True
    with pytest.raises(ConfigError, match="in place of USE_SIGMOID_CE and USE_FED_LOSS"):
        _build(cfg, "standard")
