"""The fixed-size form of detection gives what the ordinary path gives."""

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import batched_nms
from d2lite.layers.nms_mask import nms_mask
from d2lite.modeling import build_model
from d2lite.modeling.padded import best_rows, clip_to_sizes, rows_of, top_padded
from d2lite.modeling.proposal_generator.rrpn import RRPN
from d2lite.utils.errors import ExportError

from .small_detectors import SMALL, images_of, small_detector


@pytest.mark.parametrize("name", SMALL)
def test_fixed_size_form_gives_the_ordinary_detections(name):
    model = small_detector(name)
    batch = images_of([(96, 128), (70, 50)])
    images = model.preprocess_image(batch)
    with torch.no_grad():
        expected = model(batch)
        sizes = torch.tensor(images.image_sizes)
        found = model.predict_padded(images.tensor, sizes)
    # The ordinary path of one-stage detectors clips and drops empty boxes later.
    clipped = clip_to_sizes(found["boxes"], sizes)
    assert sum(len(one["instances"]) for one in expected) > 10
    for i, one in enumerate(expected):
        instances = one["instances"]
        valid = found["valid"][i] & (clipped[i][:, 2:] > clipped[i][:, :2]).all(dim=1)
        rows = clipped[i][valid], found["scores"][i][valid], found["classes"][i][valid]
        torch.testing.assert_close(rows[0], instances.pred_boxes.tensor, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(rows[1], instances.scores)
        assert torch.equal(rows[2], instances.pred_classes)
        assert not found["boxes"][i][~found["valid"][i]].any()


def test_masks_of_the_fixed_size_form_are_the_ordinary_ones():
    model = small_detector("mask")
    batch = images_of([(96, 128), (70, 50)])
    images = model.preprocess_image(batch)
    with torch.no_grad():
        expected = model.inference(batch, do_postprocess=False)
        found = model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
    for i, one in enumerate(expected):
        masks = found["masks"][i][found["valid"][i]]
        torch.testing.assert_close(masks, one.pred_masks, atol=1e-4, rtol=1e-4)


def test_without_detections_all_rows_are_padding():
    model = small_detector("mask")
    model.roi_heads.box_predictor.test_score_thresh = 1.1
    batch = images_of([(64, 64)])
    images = model.preprocess_image(batch)
    with torch.no_grad():
        found = model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
    assert not found["valid"].any()
    assert not found["masks"].any()


def test_mask_of_suppression_marks_what_batched_nms_keeps():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 200, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + torch.rand(2, 200, 2, generator=generator) * 40], dim=2)
    scores = torch.rand(2, 200, generator=generator)
    groups = torch.randint(0, 3, (2, 200), generator=generator)
    valid = torch.rand(2, 200, generator=generator) > 0.2
    kept = nms_mask(boxes, scores, groups, valid, 0.4, 3)
    for i in range(2):
        rows = valid[i].nonzero().flatten()
        ordinary = batched_nms(boxes[i][rows], scores[i][rows], groups[i][rows], 0.4)
        assert sorted(rows[ordinary].tolist()) == kept[i].nonzero().flatten().tolist()


def test_more_rows_than_there_are_become_padding():
    scores = torch.tensor([[0.1, 0.9, 0.5]])
    values, position = top_padded(scores, 5)
    assert values[0, :3].tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert position[0, :3].tolist() == [1, 2, 0]
    _, valid = best_rows(scores, torch.tensor([[True, False, True]]), 4)
    assert valid.tolist() == [[True, True, False, False]]


def test_heads_are_never_given_an_empty_batch():
    """Runtimes differ in what a convolution does with no rows; torchvision 2251 is one report."""
    assert rows_of(torch.zeros(2, 3, dtype=torch.bool)).tolist() == [0]
    assert rows_of(torch.tensor([[False, True]])).tolist() == [0, 1]


# torchvision's NMS uses a function that torch has renamed.
@pytest.mark.filterwarnings("ignore:.create_unbacked_symint:FutureWarning")
def test_model_compiles_in_the_fixed_size_form():
    model = small_detector("retinanet").requires_grad_(False)
    batch = images_of([(64, 96)])
    images = model.preprocess_image(batch)
    sizes = torch.tensor(images.image_sizes)
    # "eager" records the graph without compiling C++.
    compiled = torch.compile(model.predict_padded, backend="eager")
    with torch.no_grad():
        expected, found = model.predict_padded(images.tensor, sizes), compiled(images.tensor, sizes)
    torch.testing.assert_close(found, expected)


def test_model_without_the_form_is_refused_by_name():
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    model = build_model(cfg)
    assert isinstance(model, nn.Module)
    with pytest.raises(ExportError, match="ProposalNetwork has no fixed-size form"):
        model.predict_padded(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]]))


def test_rotated_boxes_are_refused():
    with pytest.raises(ExportError, match="rotated boxes have no fixed-size form"):
        RRPN.predict_padded(None, {}, torch.zeros(1, 2))
