"""RetinaNet: losses by definition, empty batches, the normaliser, and detections."""

import copy

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from d2lite.layers import (
    CycleBatchNormList,
    HarmonizedBoxLoss,
    HarmonizedClassLoss,
    ShapeSpec,
)
from d2lite.modeling import build_model
from d2lite.modeling.meta_arch import RetinaNet, RetinaNetHead
from d2lite.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from d2lite.structures import Boxes
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.events import EventStorage

from .tiny import batch, empty_batch, item, retinanet_config


@pytest.fixture(scope="module")
def trained_like():
    """A model whose scores and boxes differ from place to place."""
    torch.manual_seed(0)
    model = build_model(retinanet_config())
    with torch.no_grad():
        model.head.cls_score.weight.mul_(30)
        model.head.bbox_pred.weight.mul_(10)
    return model


@pytest.fixture
def model(trained_like):
    return copy.deepcopy(trained_like)


def test_losses_follow_the_definition(model):
    anchors = [Boxes(torch.rand(5, 2).mul(50).repeat(1, 2) + torch.tensor([0.0, 0, 20, 10]))]
    logits, deltas = [torch.randn(2, 5, 3)], [torch.randn(2, 5, 4)]
    labels = [torch.tensor([0, 3, -1, 2, 3]), torch.tensor([3, 3, 1, -1, -1])]
    boxes = [anchors[0].tensor + 1, anchors[0].tensor * 1.1]
    model.loss_normalizer.fill_(10.0)
    losses = model.losses(anchors, logits, labels, deltas, boxes)

    normalizer = 0.9 * 10 + 0.1 * 3
    cls = box = 0.0
    for i in range(2):
        for j, label in enumerate(labels[i].tolist()):
            if label >= 0:
                target = torch.zeros(3)
                target[label : label + 1] = 1
                cls += sigmoid_focal_loss(logits[0][i, j], target, 0.25, 2.0).sum()
            if 0 <= label < 3:
                row = slice(j, j + 1)
                want = model.box2box_transform.get_deltas(anchors[0].tensor[row], boxes[i][row])
                box += torch.nn.functional.smooth_l1_loss(
                    deltas[0][i, row], want, beta=0.1, reduction="sum"
                )
    torch.testing.assert_close(losses["loss_cls"], cls / normalizer)
    torch.testing.assert_close(losses["loss_box_reg"], box / normalizer)
    assert model.loss_normalizer.item() == pytest.approx(normalizer)


def test_labels_are_classes_background_or_ignored(model):
    gt = [x["instances"] for x in batch()]
    features = [torch.zeros(2, 1, 96 // s, 96 // s) for s in (8, 16, 32, 48, 96)]
    anchors = model.anchor_generator(features)
    labels, boxes = model.label_anchors(anchors, gt)
    assert set(labels[0].tolist()) <= {-1, 0, 1, 3}
    assert (labels[0] == 0).any()
    assert (labels[0] == 1).any()
    assert (labels[0] == 3).sum() > 100
    second = boxes[0][labels[0] == 1]
    assert torch.equal(second, gt[0].gt_boxes.tensor[1].expand_as(second))


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "ghm"])
def test_a_batch_without_objects_gives_finite_losses_and_gradients_everywhere(kind):
    torch.manual_seed(0)
    cfg = retinanet_config()
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = kind
    cfg.MODEL.RETINANET.CLASS_LOSS = "ghm" if kind == "ghm" else "focal"
    model = build_model(cfg)
    with EventStorage() as storage:
        losses = model(empty_batch())
    assert storage.latest()["num_pos_anchors"][0] == 0
    assert losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_normaliser_survives_a_stop_but_is_no_weight(model):
    model(batch())
    moved = model.loss_normalizer.item()
    assert moved != 100
    assert "loss_normalizer" not in model.state_dict()
    again = build_model(retinanet_config())
    again.training_state.load_state_dict(model.training_state.state_dict())
    assert again.loss_normalizer.item() == moved


def test_losses_in_half_precision_are_about_those_in_full(model):
    full = copy.deepcopy(model)(batch())
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch())
    for name, loss in half.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, full[name], rtol=0.1, atol=0.05)


def test_both_uses_of_losses_are_the_same_way(model):
    copied = copy.deepcopy(model)
    assert {k: v.item() for k, v in model.losses(batch()).items()} == {
        k: v.item() for k, v in copied(batch()).items()
    }


def test_an_overridden_loss_is_called_with_labelled_anchors():
    """People subclass RetinaNet of the reference in just this way."""

    class Mine(RetinaNet):
        def losses(self, anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes):
            return {"loss_mine": pred_logits[0].sum() * 0 + len(gt_labels)}

    torch.manual_seed(0)
    assert Mine(retinanet_config())(batch())["loss_mine"] == 2


def test_detections_are_sorted_few_and_in_the_asked_size(model):
    model.eval()
    model.max_detections_per_image = 7
    with torch.no_grad():
        results = model(batch())
    for one, result in zip(batch(), results, strict=True):
        found = result["instances"]
        assert found.image_size == (one["height"], one["width"])
        assert 0 < len(found) <= 7
        assert (found.scores.diff() <= 0).all()
        assert found.scores.min() > 0.01
        assert found.pred_classes.max() < 3
        assert found.pred_boxes.nonempty().all()


def test_detections_of_a_batch_are_those_of_its_images(model):
    model.eval()
    images = [item(64, 96, [], 1), item(64, 96, [], 2)]
    with torch.no_grad():
        together = model(images)
        for image, result in zip(images, together, strict=True):
            (alone,) = model([image])
            got, want = alone["instances"], result["instances"]
            torch.testing.assert_close(got.scores, want.scores, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                got.pred_boxes.tensor, want.pred_boxes.tensor, rtol=1e-3, atol=1e-2
            )


def test_nothing_above_the_threshold_gives_no_detections(model):
    model.eval()
    model.test_score_thresh = 1.0
    with torch.no_grad():
        assert all(len(result["instances"]) == 0 for result in model(batch()))


def test_each_level_sends_its_best_candidates_above_the_threshold(model):
    model.test_topk_candidates = 2
    model.test_score_thresh = 0.3
    anchors = [Boxes(torch.tensor([[0.0, 0, 10, 10], [50.0, 50, 60, 60]])) for _ in range(2)]
    scores = [
        torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.2, 0.2]]),
        torch.tensor([[0.0, 0.4, 0.0], [0.1, 0.1, 0.25]]),
    ]
    found = model.inference_single_image(anchors, scores, [torch.zeros(2, 4)] * 2, (100, 100))
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.pred_classes.tolist() == [0, 1]


def test_pictures_are_logged_at_their_period_only(model):
    model.vis_period = 2
    with EventStorage(2) as storage:
        model(batch())
        assert [name for name, *_ in storage.images] == ["Left: truth; right: detections"]
        storage.clear_images()
        storage.step()
        model(batch())
        assert not storage.images
    model(batch())


def test_training_without_truth_is_refused(model):
    images = [{k: v for k, v in x.items() if k != "instances"} for x in batch()]
    with pytest.raises(DataError, match="needs 'instances'"):
        model(images)


def test_predictions_are_brought_into_the_order_of_anchors():
    x = torch.arange(2 * 6 * 2 * 3.0).view(2, 6, 2, 3)
    flat = permute_to_N_HWA_K(x, 3)
    assert flat.shape == (2, 12, 3)
    # Cell (1, 2), second anchor of two.
    assert torch.equal(flat[1, (1 * 3 + 2) * 2 + 1], x[1, 3:, 1, 2])


def test_scores_begin_at_the_prior():
    head = RetinaNetHead(
        input_shape=[ShapeSpec(channels=4)], num_classes=2, num_anchors=3, conv_dims=[4]
    )
    (logits,), (deltas,) = head([torch.zeros(1, 4, 2, 2)])
    torch.testing.assert_close(logits.sigmoid(), torch.full((1, 6, 2, 2), 0.01))
    assert deltas.shape == (1, 12, 2, 2)


def test_batch_norm_keeps_statistics_for_each_level():
    shapes = [ShapeSpec(channels=4), ShapeSpec(channels=4)]
    head = RetinaNetHead(
        input_shape=shapes, num_classes=2, num_anchors=[3, 3], conv_dims=[4, 4], norm="BN"
    )
    norm = head.cls_subnet[1]
    assert isinstance(norm, CycleBatchNormList)
    head([torch.randn(2, 4, 4, 4), torch.randn(2, 4, 2, 2) + 5])
    assert not torch.allclose(norm[0].running_mean, norm[1].running_mean)
    with pytest.raises(ValueError, match="1 feature maps; this head has 2"):
        head([torch.zeros(1, 4, 2, 2)])


def test_norms_of_levels_begin_with_the_first_one_after_a_pass_that_did_not_end():
    """Else a server whose memory was too small for one request gives wrong boxes ever after."""
    shapes = [ShapeSpec(channels=4), ShapeSpec(channels=4)]
    head = RetinaNetHead(input_shape=shapes, num_classes=2, num_anchors=3, conv_dims=[4], norm="BN")
    maps = [torch.randn(2, 4, 4, 4), torch.randn(2, 4, 2, 2)]
    head.cls_subnet(maps[0])
    head(maps)
    tracked = [norm.num_batches_tracked.item() for norm in head.cls_subnet[1]]
    assert tracked == [2, 1]


def test_levels_that_cannot_share_a_head_are_refused():
    with pytest.raises(ConfigError, match=r"\[1, 2\] anchors"):
        RetinaNetHead(
            input_shape=[ShapeSpec(channels=4)], num_classes=2, num_anchors=[1, 2], conv_dims=[]
        )
    with pytest.raises(ConfigError, match="PRIOR_PROB=0"):
        RetinaNetHead(
            input_shape=[ShapeSpec(channels=4)],
            num_classes=2,
            num_anchors=1,
            conv_dims=[],
            prior_prob=0,
        )


def test_candidates_that_a_subclass_decodes_are_the_detections():
    class OneBox(RetinaNet):
        def _decode_multi_level_predictions(self, *arguments):
            found = super()._decode_multi_level_predictions(*arguments)
            first = self._decode_per_level_predictions(
                arguments[0][0], arguments[1][0], arguments[2][0], *arguments[3:]
            )
            assert torch.equal(found.scores[: len(first)], first.scores)
            return found[:1]

    cfg = retinanet_config()
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.0
    (result,) = OneBox(cfg).eval()([item(64, 64, [])])
    assert len(result["instances"]) == 1


def test_running_means_are_kept_under_their_names(model):
    model.loss_normalizer.fill_(10.0)
    assert model._ema_update("loss_normalizer", 20, 100) == pytest.approx(11)
    assert model.loss_normalizer == pytest.approx(11)
    assert model._ema_update("another", 0, 100, momentum=0.5) == 50
    assert model.another == 50


def test_harmonized_losses_are_those_of_all_anchors_that_are_not_ignored():
    cfg = retinanet_config()
    cfg.MODEL.RETINANET.CLASS_LOSS = cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = "ghm"
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_WEIGHT = 10.0
    model = build_model(cfg)
    anchors = [Boxes(torch.rand(5, 2).mul(50).repeat(1, 2) + torch.tensor([0.0, 0, 20, 10]))]
    logits, deltas = torch.randn(1, 5, 3), torch.randn(1, 5, 4)
    labels, boxes = torch.tensor([0, 3, -1, 2, 3]), anchors[0].tensor * 1.1
    losses = model.losses(anchors, [logits], [labels], [deltas], [boxes])
    counted, objects = labels >= 0, torch.tensor([0, 3])
    truth = torch.eye(4)[labels[counted]][:, :3]
    expected = HarmonizedClassLoss()(logits[0, counted], truth, truth >= 0)
    torch.testing.assert_close(losses["loss_cls"], expected)
    wanted = model.box2box_transform.get_deltas(anchors[0].tensor[objects], boxes[objects])
    expected = 10 * HarmonizedBoxLoss()(deltas[0, objects], wanted)
    torch.testing.assert_close(losses["loss_box_reg"], expected)


def test_an_unknown_loss_of_classes_is_refused():
    cfg = retinanet_config()
    cfg.MODEL.RETINANET.CLASS_LOSS = "seesaw"
    with pytest.raises(ConfigError, match='CLASS_LOSS=\'seesaw\': use "focal" or "ghm"'):
        build_model(cfg)
