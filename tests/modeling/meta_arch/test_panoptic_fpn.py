"""Panoptic FPN: joining objects and stuff against a plain definition, and the model around it."""

import logging

import numpy as np
import pytest
import torch

from d2lite.modeling import build_model
from d2lite.modeling.meta_arch import combine_semantic_and_instance_outputs
from d2lite.structures import Instances, PolygonMasks
from d2lite.utils.errors import ConfigError

from .test_semantic_seg import labelled, semantic_config
from .tiny import item


def detections(masks, scores, classes):
    masks = torch.as_tensor(np.array(masks, dtype=bool))
    found = Instances(tuple(masks.shape[1:]))
    found.pred_masks = masks
    found.scores = torch.tensor(scores, dtype=torch.float32)
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return found


def pixel_by_pixel(found, semantic, overlap, stuff_limit, score_limit):
    """The definition, on sets of pixels."""
    height, width = semantic.shape
    owner, segments = {}, []
    claims = [{(y, x) for y, x in np.argwhere(mask.numpy()).tolist()} for mask in found.pred_masks]
    for i in sorted(range(len(found)), key=lambda i: -found.scores[i].item()):
        if found.scores[i].item() < score_limit or not claims[i]:
            continue
        free = {p for p in claims[i] if p not in owner}
        if 1 - len(free) / len(claims[i]) > overlap:
            continue
        number = len(segments) + 1
        owner.update(dict.fromkeys(free, number))
        segments.append((number, True, int(found.pred_classes[i]), i, None))
    for label in sorted(set(semantic.flatten().tolist()) - {0}):
        free = [
            (y, x)
            for y in range(height)
            for x in range(width)
            if semantic[y, x] == label and (y, x) not in owner
        ]
        if len(free) < stuff_limit:
            continue
        number = len(segments) + 1
        owner.update(dict.fromkeys(free, number))
        segments.append((number, False, label, None, len(free)))
    panoptic = np.zeros((height, width), dtype=np.int32)
    for (y, x), number in owner.items():
        panoptic[y, x] = number
    return panoptic, segments


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stuff_limit", [0, 1, 12])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_joining_follows_the_definition(seed, stuff_limit, overlap):
    rng = np.random.default_rng(seed)
    masks = np.zeros((8, 12, 15), dtype=bool)
    for mask in masks[:7]:
        y, x = rng.integers(0, 9, 2)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = True
    found = detections(masks, rng.permutation(8) / 8, rng.integers(0, 80, 8))
    semantic = torch.from_numpy(rng.integers(0, 5, (12, 15)))
    panoptic, segments = combine_semantic_and_instance_outputs(
        found, semantic, overlap, stuff_limit, 0.25
    )
    expected, rows = pixel_by_pixel(found, semantic, overlap, stuff_limit, 0.25)
    assert panoptic.dtype == torch.int32
    np.testing.assert_array_equal(panoptic.numpy(), expected)
    assert [
        (s["id"], s["isthing"], s["category_id"], s.get("instance_id"), s.get("area"))
        for s in segments
    ] == rows


def test_segments_carry_plain_values_under_the_known_keys():
    mask = np.zeros((1, 6, 6))
    mask[0, :2] = 1
    semantic = torch.full((6, 6), 3)
    _, (thing, stuff) = combine_semantic_and_instance_outputs(
        detections(mask, [0.75], [2]), semantic, 0.5, 4, 0.5
    )
    assert thing == {
        "id": 1,
        "isthing": True,
        "score": 0.75,
        "category_id": 2,
        "instance_id": 0,
    }
    assert stuff == {"id": 2, "isthing": False, "category_id": 3, "area": 24}
    assert [type(v) for v in thing.values()] == [int, bool, float, int, int]
    assert [type(v) for v in stuff.values()] == [int, bool, int, int]


def test_an_image_without_objects_is_all_stuff():
    empty = detections(np.zeros((0, 4, 4)), [], [])
    panoptic, segments = combine_semantic_and_instance_outputs(
        empty, torch.full((4, 4), 7), 0.5, 16, 0.5
    )
    assert panoptic.eq(1).all()
    assert [s["category_id"] for s in segments] == [7]


def test_an_image_of_unclaimed_things_has_no_segment():
    empty = detections(np.zeros((0, 4, 4)), [], [])
    panoptic, segments = combine_semantic_and_instance_outputs(
        empty, torch.zeros(4, 4, dtype=torch.int64), 0.5, 0, 0.5
    )
    assert panoptic.eq(0).all()
    assert segments == []


def test_a_score_equal_to_the_limit_is_kept():
    mask = np.ones((1, 4, 4))
    args = (torch.zeros(4, 4, dtype=torch.int64), 0.5, 0)
    assert combine_semantic_and_instance_outputs(detections(mask, [0.5], [0]), *args, 0.5)[1]
    assert not combine_semantic_and_instance_outputs(detections(mask, [0.5], [0]), *args, 0.51)[1]


def panoptic_config():
    cfg = semantic_config("PanopticFPN")
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT = 10
    return cfg


def batch(boxes=((10, 10, 40, 40), (50, 5, 80, 60))):
    examples = [labelled(64, 96, 1), labelled(96, 80, 2)]
    for example in examples:
        truth = item(*example["image"].shape[1:], list(boxes))["instances"]
        corners = [[[a, b, c, b, c, d, a, d]] for a, b, c, d in boxes]
        truth.gt_masks = PolygonMasks([[np.array(p, float) for p in q] for q in corners])
        example["instances"] = truth
    return examples


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(panoptic_config())


LOSSES = {
    "loss_sem_seg",
    "loss_rpn_cls",
    "loss_rpn_loc",
    "loss_cls",
    "loss_box_reg",
    "loss_mask",
}


@pytest.mark.parametrize("boxes", [((10, 10, 40, 40), (50, 5, 80, 60)), ()])
def test_all_parts_learn_also_without_objects(model, boxes):
    model.train()
    model.zero_grad()
    losses = model(batch(boxes))
    sum(losses.values()).backward()
    assert set(losses) == LOSSES
    assert all(loss.isfinite() for loss in losses.values())
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []


def test_an_image_gets_objects_scores_and_a_panoptic_map(model):
    model.eval()
    with torch.no_grad():
        first, second = model(batch())
    assert set(first) == {"sem_seg", "instances", "panoptic_seg"}
    assert first["sem_seg"].shape == (5, 128, 192)
    panoptic, segments = second["panoptic_seg"]
    assert panoptic.shape == (192, 160)
    present = set(panoptic.unique().tolist()) - {0}
    assert present <= {segment["id"] for segment in segments}
    for segment in segments:
        if not segment["isthing"]:
            assert panoptic.eq(segment["id"]).sum() == segment["area"]


def test_without_postprocessing_the_network_speaks_in_its_own_pixels(model):
    model.eval()
    with torch.no_grad():
        found, scores = model.inference(batch(), do_postprocess=False)
    assert [f.image_size for f in found] == [(64, 96), (96, 80)]
    assert scores.shape == (2, 5, 96, 96)


def test_combining_can_be_switched_off():
    cfg = panoptic_config()
    cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED = False
    off = build_model(cfg).eval()
    with torch.no_grad():
        assert set(off(batch())[0]) == {"sem_seg", "instances"}


def test_panoptic_maps_without_masks_are_refused():
    cfg = panoptic_config()
    cfg.MODEL.MASK_ON = False
    with pytest.raises(ConfigError, match="MASK_ON True"):
        build_model(cfg)


def test_the_instance_loss_weight_scales_boxes_and_masks(model, caplog):
    """Classes stay, as in the reference: their weight is not in the head's dict."""
    cfg = panoptic_config()
    cfg.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT = 0.25
    with caplog.at_level(logging.WARNING):
        light = build_model(cfg)
    assert "INSTANCE_LOSS_WEIGHT" in caplog.text
    light.load_state_dict(model.state_dict())
    model.train()
    torch.manual_seed(0)
    full = model(batch())
    torch.manual_seed(0)
    scaled = light(batch())
    for name in LOSSES:
        factor = 0.25 if name in ("loss_box_reg", "loss_mask") else 1.0
        torch.testing.assert_close(scaled[name], full[name] * factor)
