"""FCOS: which cell learns what, against a plain definition; losses, centerness, detections."""

import copy
import math

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from d2lite.config import find_config_file, get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling import META_ARCH_REGISTRY, build_model
from d2lite.modeling.meta_arch import FCOSHead
from d2lite.structures import Boxes, Instances

from .tiny import base_config, batch, empty_batch

STRIDES = (8, 16, 32, 64, 128)


def fcos_config():
    cfg = base_config("FCOS")
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    # Two channels a group: torch refuses group norm of a single value.
    cfg.MODEL.FPN.OUT_CHANNELS = 64
    cfg.MODEL.FCOS.NUM_CLASSES = 3
    cfg.MODEL.FCOS.NUM_CONVS = 1
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.05
    return cfg


@pytest.fixture(scope="module")
def trained_like():
    torch.manual_seed(0)
    model = build_model(fcos_config())
    with torch.no_grad():
        model.head.cls_score.weight.mul_(30)
        model.head.bbox_pred.weight.mul_(10)
        model.head.bbox_pred.bias.fill_(1.5)
    return model


@pytest.fixture
def model(trained_like):
    return copy.deepcopy(trained_like)


def cells_of(model, side=256):
    return model.anchor_generator([torch.zeros(1, 1, side // s, side // s) for s in STRIDES])


def truth(boxes, classes):
    found = Instances((256, 256))
    found.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return found


def what_a_cell_learns(x, y, stride, boxes, radius=1.5):
    """Index of the object by the paper's rules, None for background."""
    learnt = []
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        sides = (x - x0, y - y0, x1 - x, y1 - y)
        off = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
        low = 0 if stride == STRIDES[0] else 4 * stride
        high = math.inf if stride == STRIDES[-1] else 8 * stride
        if min(sides) > 0 and off < radius * stride and low < max(sides) < high:
            learnt.append(((x1 - x0) * (y1 - y0), index))
    return min(learnt)[1] if learnt else None


def test_every_cell_learns_what_the_paper_says(model):
    boxes = [
        [10.0, 20, 60, 90],
        [30, 30, 50, 55],
        [0, 0, 250, 240],
        [100, 90, 230, 200],
        [200, 210, 203, 214],
    ]
    classes = [0, 1, 2, 1, 0]
    cells = cells_of(model)
    (labels,), (targets,) = model.label_anchors(cells, [truth(boxes, classes)])
    row, learnt = 0, set()
    for level, stride in zip(cells, STRIDES, strict=True):
        for x, y in level.get_centers().tolist():
            index = what_a_cell_learns(x, y, stride, boxes)
            learnt.add(index)
            assert labels[row] == (3 if index is None else classes[index])
            if index is not None:
                assert targets[row].tolist() == boxes[index]
            row += 1
    assert row == len(labels)
    assert len(learnt - {None}) >= 4


def test_an_image_without_objects_is_all_background(model):
    labels, boxes = model.label_anchors(cells_of(model), [truth([], [])])
    assert labels[0].eq(3).all()
    assert labels[0].dtype == torch.int64
    assert boxes[0].shape == (len(labels[0]), 4)


def test_centerness_is_one_in_the_middle_and_zero_outside(model):
    cells = [Boxes(torch.tensor([[8.0, 8, 16, 16], [0, 0, 8, 8], [40, 40, 48, 48]]))]
    boxes = torch.tensor([[2.0, 2, 22, 22]]).repeat(3, 1)
    targets = model.compute_ctrness_targets(cells, [boxes, boxes])
    # The second cell's point (4, 4) is 2 from the low sides and 18 from the high ones.
    torch.testing.assert_close(targets, torch.tensor([[1.0, 2 / 18, 0.0]] * 2))


def test_centerness_of_a_box_without_extent_is_finite(model):
    cells = [Boxes(torch.tensor([[0.0, 0, 8, 8]]))]
    targets = model.compute_ctrness_targets(cells, [torch.tensor([[4.0, 4, 4, 4]])])
    assert targets.tolist() == [[0.0]]


def test_losses_follow_the_definition(model):
    cells = [Boxes(torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [8, 8, 16, 16]]))]
    labels = [torch.tensor([0, 3, 2]), torch.tensor([3, 1, 3])]
    boxes = [torch.tensor([[1.0, 1, 30, 20], [0, 0, 1, 1], [2, 3, 22, 23]])] * 2
    logits, deltas = [torch.randn(2, 3, 3)], [torch.rand(2, 3, 4)]
    centerness = [torch.randn(2, 3, 1)]
    model.loss_normalizer.fill_(10.0)
    losses = model.losses(cells, logits, labels, deltas, boxes, centerness)

    cls = loc = ctr = 0.0
    targets = model.compute_ctrness_targets(cells, boxes)
    for i in range(2):
        for j, label in enumerate(labels[i].tolist()):
            one_hot = torch.eye(4)[label, :3]
            cls += sigmoid_focal_loss(logits[0][i, j], one_hot, 0.25, 2.0).sum()
            if label == 3:
                continue
            centre = cells[0].get_centers()[j]
            sides = deltas[0][i, j] * 8
            box = torch.cat((centre - sides[:2], centre + sides[2:]))
            loc += generalized_box_iou_loss(box[None], boxes[i][j : j + 1]).sum()
            p, t = centerness[0][i, j, 0].sigmoid(), targets[i, j]
            ctr -= t * p.log() + (1 - t) * (1 - p).log()
    normalizer = 0.9 * 10 + 0.1 * 3
    torch.testing.assert_close(losses["loss_fcos_cls"], cls / normalizer)
    torch.testing.assert_close(losses["loss_fcos_loc"], loc / normalizer)
    torch.testing.assert_close(losses["loss_fcos_ctr"], ctr / normalizer)
    assert model.training_state.state_dict()["loss_normalizer"].item() == pytest.approx(normalizer)


@pytest.mark.parametrize("examples", [batch, empty_batch])
def test_all_parts_learn_also_without_objects(model, examples):
    model.train()
    losses = model(examples())
    sum(losses.values()).backward()
    assert set(losses) == {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
    assert all(loss.isfinite() for loss in losses.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_the_running_count_starts_at_300_and_is_no_weight(model):
    fresh = build_model(fcos_config())
    assert fresh.loss_normalizer.item() == 300
    assert "loss_normalizer" not in fresh.state_dict()


def test_a_detection_scores_the_geometric_mean_of_class_and_centerness(model):
    features = [torch.zeros(1, 1, 64 // s or 1, 64 // s or 1) for s in STRIDES]
    shape = [tuple(f.shape[2:]) for f in features]
    logits = [torch.full((1, 3, *s), -20.0) for s in shape]
    deltas = [torch.ones(1, 4, *s) for s in shape]
    centerness = [torch.zeros(1, 1, *s) for s in shape]
    logits[0][0, 2, 3, 4] = 1.0
    centerness[0][0, 0, 3, 4] = -1.0

    class Images:
        image_sizes = ((64, 64),)

    (found,) = model.forward_inference(Images, features, (logits, deltas, centerness))
    score = math.sqrt(1 / (1 + math.exp(-1)) / (1 + math.exp(1)))
    assert found.scores.tolist() == pytest.approx([score])
    assert found.pred_classes.tolist() == [2]
    # The cell at row 3, column 4 has its point at (36, 28), and each side is one stride away.
    assert found.pred_boxes.tensor.tolist() == [[28.0, 20.0, 44.0, 36.0]]


def test_detections_are_ordered_limited_and_in_output_pixels(model):
    model.eval()
    model.max_detections_per_image = 7
    with torch.no_grad():
        results = model(batch())
    for result, size in zip(results, [(128, 192), (192, 160)], strict=True):
        found = result["instances"]
        assert found.image_size == size
        assert 0 < len(found) <= 7
        assert found.scores.diff().le(0).all()
        assert found.scores.min() > 0.05


def test_images_are_detected_alike_alone_and_in_a_batch(model):
    model.eval()
    same_size = [batch()[0], {**batch()[0], "image": batch()[0]["image"].flip(2)}]
    with torch.no_grad():
        together = model(same_size)
        alone = [model([example])[0] for example in same_size]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores)
        torch.testing.assert_close(
            a["instances"].pred_boxes.tensor,
            b["instances"].pred_boxes.tensor,
            rtol=1e-4,
            atol=1e-3,
        )


def test_the_head_needs_all_its_levels():
    head = FCOSHead(input_shape=[ShapeSpec(channels=4)] * 2, conv_dims=[4], num_classes=3)
    assert head.ctrness.weight.shape == (1, 4, 3, 3)
    with pytest.raises(ValueError, match="1 feature maps; this head has 2"):
        head([torch.zeros(1, 4, 2, 2)])


def test_the_published_schedule_builds_the_network_of_the_paper():
    """The map p6 is made from p5, and the head works on strides 8 to 128."""
    cfg = get_cfg()
    cfg.merge_from_file(str(find_config_file("COCO-Detection/fcos_R_50_FPN_1x.yaml")))
    with torch.device("meta"):
        net = META_ARCH_REGISTRY.get("FCOS")(cfg)
    assert net.backbone.top_block.in_feature == "p5"
    assert net.backbone.top_block.p6.in_channels == 256
    shapes = net.backbone.output_shape()
    assert [shapes[name].stride for name in net.head_in_features] == [8, 16, 32, 64, 128]
