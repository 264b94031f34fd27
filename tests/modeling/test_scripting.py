"""What people script in detectron2 can be scripted here, and gives the same numbers."""

import pytest
import torch
from torch import Tensor, nn

from d2lite.data import transforms as T
from d2lite.layers import (
    Conv2d,
    ROIAlign,
    ROIAlignRotated,
    ShapeSpec,
    batched_nms,
    cat,
    get_norm,
    nms_rotated,
    nonzero_tuple,
    paste_masks_in_image,
    shapes_to_tensor,
)
from d2lite.modeling.anchor_generator import DefaultAnchorGenerator, RotatedAnchorGenerator
from d2lite.modeling.backbone.resnet import BasicStem, ResNet
from d2lite.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from d2lite.modeling.matcher import Matcher
from d2lite.modeling.meta_arch import RetinaNetHead
from d2lite.modeling.poolers import ROIPooler
from d2lite.modeling.proposal_generator import StandardRPNHead
from d2lite.modeling.roi_heads.box_head import FastRCNNConvFCHead
from d2lite.structures import Boxes, RotatedBoxes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*:FutureWarning", "ignore::torch.jit.TracerWarning"
)


def test_matcher_is_a_class_for_torchscript():
    def match(quality: Tensor, thresholds: list[float], labels: list[int]):
        return Matcher(thresholds, labels, allow_low_quality_matches=True)(quality)

    quality = torch.tensor([[0.9, 0.45, 0.1, 0.0], [0.2, 0.35, 0.0, 0.2]])
    scripted = torch.jit.script(match)
    for some in (quality, quality[:0]):
        for mine, plain in zip(
            scripted(some, [0.4, 0.6], [0, -1, 1]),
            match(some, [0.4, 0.6], [0, -1, 1]),
            strict=True,
        ):
            assert torch.equal(mine, plain)


@pytest.mark.parametrize("kind", [DefaultAnchorGenerator, RotatedAnchorGenerator])
def test_anchors_fit_maps_of_other_sizes(kind):
    """A generator that has been used, and so has anchors in its cache, is scripted or traced."""
    angles = {"angles": [[0, 45]]} if kind is RotatedAnchorGenerator else {}
    make = kind(sizes=[[16], [48]], aspect_ratios=[[0.5, 2.0]], strides=[4, 8], **angles)
    small = [torch.zeros(1, 2, 3, 5), torch.zeros(1, 2, 2, 3)]
    large = [torch.zeros(1, 2, 8, 7), torch.zeros(1, 2, 4, 4)]
    make(small)

    class Numbers(nn.Module):
        def forward(self, one, two):
            return [boxes.tensor for boxes in make([one, two])]

    scripted, traced = torch.jit.script(make), torch.jit.trace(Numbers(), small)
    for maps in (small, large):
        plain = [boxes.tensor for boxes in make(maps)]
        for mine in ([boxes.tensor for boxes in scripted(maps)], traced(*maps)):
            assert all(torch.equal(a, b) for a, b in zip(mine, plain, strict=True))


def test_suppression():
    def upright(boxes: Tensor, scores: Tensor, idxs: Tensor):
        return batched_nms(boxes, scores, idxs, 0.5)

    def rotated(boxes: Tensor, scores: Tensor):
        return nms_rotated(boxes, scores, 0.3)

    torch.manual_seed(0)
    boxes, scores, idxs = torch.rand(60, 5) * 30 + 1, torch.rand(60), torch.randint(0, 3, (60,))
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], dim=1)
    kept = upright(corners, scores, idxs)
    assert 0 < len(kept) < 60
    assert torch.equal(torch.jit.script(upright)(corners, scores, idxs), kept)
    kept = rotated(boxes, scores)
    assert 0 < len(kept) < 60
    assert torch.equal(torch.jit.script(rotated)(boxes, scores), kept)


def test_small_functions():
    def joined(tensors: list[Tensor]):
        return cat(tensors, 0), nonzero_tuple(tensors[0])[0]

    def shape(image: Tensor):
        return T.ResizeShortestEdge.get_output_shape(image.shape[1], image.shape[2], 48, 90)

    def sides(image: Tensor):
        return shapes_to_tensor([image.shape[1], image.shape[2]])

    assert torch.jit.script(sides)(torch.zeros(3, 20, 25)).tolist() == [20, 25]
    rows, found = torch.jit.script(joined)([torch.eye(2), torch.zeros(1, 2)])
    assert rows.shape == (3, 2)
    assert found.tolist() == [0, 1]
    assert torch.jit.script(shape)(torch.zeros(3, 20, 25)) == (48, 60)
    assert torch.jit.script(shape)(torch.zeros(3, 60, 12)) == (90, 18)


LEVELS = [torch.rand(1, 4, 9, 9), torch.rand(1, 4, 5, 5)]
ONE = ShapeSpec(channels=4, height=3, width=3)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (
            Conv2d(3, 4, 3, norm=get_norm("FrozenBN", 4), activation=nn.ReLU()),
            [torch.rand(2, 3, 6, 6)],
        ),
        (Conv2d(3, 4, 1), [torch.rand(0, 3, 6, 6)]),
        (
            ResNet(BasicStem(), ResNet.make_default_stages(18), out_features=["res2", "res4"]),
            [torch.rand(1, 3, 64, 64)],
        ),
        (
            ResNet(BasicStem(), ResNet.make_default_stages(18), num_classes=3),
            [torch.rand(1, 3, 32, 32)],
        ),
        (StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=[-1, 5]), [LEVELS]),
        (
            RetinaNetHead(input_shape=[ONE] * 2, num_classes=3, num_anchors=2, conv_dims=[4]),
            [LEVELS],
        ),
        (FastRCNNConvFCHead(ONE, conv_dims=[4], fc_dims=[5]), [torch.rand(2, 4, 3, 3)]),
        (ROIAlign((2, 3), 0.5, 0), [LEVELS[0], torch.tensor([[0.0, 1, 1, 9, 12]])]),
        (ROIAlignRotated((2, 3), 0.5, 0), [LEVELS[0], torch.tensor([[0.0, 8, 8, 6, 7, 30]])]),
        (
            ROIPooler(3, (1 / 4, 1 / 8), 0, "ROIAlignV2"),
            [LEVELS, [Boxes(torch.tensor([[0.0, 0, 8, 8], [0, 0, 36, 36]]))]],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_modules(module, inputs):
    torch.testing.assert_close(torch.jit.script(module.eval())(*inputs), module(*inputs))


def test_rotated_boxes():
    def f(rows: Tensor):
        boxes = RotatedBoxes(rows)
        boxes.clip((10, 12))
        boxes.scale(2.0, 0.5)
        return boxes.area(), boxes.inside_box((50, 50)), len(boxes)

    rows = torch.tensor([[2, 3, 20, 9, 20.0], [5, 1, 8, 4, 0]])
    torch.testing.assert_close(torch.jit.script(f)(rows), f(rows))


class Decoder(nn.Module):
    def __init__(self, transform: Box2BoxTransform | Box2BoxTransformLinear) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, deltas: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        moved = self.transform.apply_deltas(deltas, boxes)
        return moved, self.transform.get_deltas(boxes, boxes + 1)


@pytest.mark.parametrize(
    "transform", [Box2BoxTransform((10.0, 10.0, 5.0, 5.0)), Box2BoxTransformLinear()]
)
def test_box_transforms_are_scriptable(transform):
    boxes, deltas = torch.tensor([[0.0, 0, 8, 8], [4, 4, 12, 20]]), torch.rand(2, 4)
    plain, scripted = Decoder(transform), torch.jit.script(Decoder(transform))
    for ours, theirs in zip(plain(deltas, boxes), scripted(deltas, boxes), strict=True):
        assert torch.equal(ours, theirs)


def test_pasting_of_masks_is_scriptable():
    masks, boxes = torch.rand(2, 28, 28), torch.tensor([[1.0, 1, 20, 30], [-4, 3, 9, 20]])
    scripted = torch.jit.script(paste_masks_in_image)(masks, boxes, (40, 30), 0.5)
    assert torch.equal(scripted, paste_masks_in_image(masks, boxes, (40, 30)))
