"""Results of an image against loops in numpy."""

import numpy as np
import torch

from d2lite.modeling.transformer import (
    best_instances,
    panoptic_segments,
    semantic_scores,
)

Q, K, H, W = 6, 4, 9, 11


def logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, Q, 3, 3, generator=draw) * 4, size=(H, W), mode="bilinear"
    )[0]
    return torch.randn(Q, K + 1, generator=draw) * 3, smooth


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_semantic_scores_are_sums_of_products():
    classes, masks = logits()
    p = classes.double().softmax(-1).numpy()
    expected = np.zeros((K, H, W))
    for q, k in np.ndindex(Q, K):
        expected[k] += p[q, k] * sigmoid(masks[q].double().numpy())
    np.testing.assert_allclose(semantic_scores(classes, masks).numpy(), expected, rtol=1e-5)


def _panoptic_definition(classes, masks, things, threshold, overlap):
    p = classes.softmax(-1).numpy()
    alive = [q for q in range(Q) if p[q].argmax() != K and p[q].max() > threshold]
    m = sigmoid(masks.numpy())
    out = np.zeros((H, W), dtype=int)
    segments, stuff = [], {}
    claims = np.stack([p[q].max() * m[q] for q in alive]) if alive else None
    for row, q in enumerate(alive):
        won = claims.argmax(0) == row
        inside = m[q] >= 0.5
        if not (won & inside).any() or won.sum() / inside.sum() < overlap:
            continue
        label = int(p[q].argmax())
        if label not in things and label in stuff:
            out[won & inside] = stuff[label]
            continue
        segments.append({"id": len(segments) + 1, "isthing": label in things, "category_id": label})
        out[won & inside] = len(segments)
        if label not in things:
            stuff[label] = len(segments)
    return out, segments


def test_panoptic_segments_are_those_of_the_definition():
    """Stuff of one class is one segment, however many queries see it."""
    merged = 0
    for seed in range(30):
        classes, masks = logits(seed)
        for overlap in (0.0, 0.5, 0.8):
            found, segments = panoptic_segments(classes, masks, {0, 1}, 0.4, overlap)
            expected, wanted = _panoptic_definition(classes, masks, {0, 1}, 0.4, overlap)
            assert segments == wanted
            assert np.array_equal(found.numpy(), expected)
            assert found.dtype == torch.int32
            labels = classes.argmax(1)
            merged += len(segments) < len(set(labels.tolist()))
    assert merged


def test_no_query_that_is_sure_gives_no_segment():
    classes, masks = logits()
    found, segments = panoptic_segments(classes, masks, {0}, 1.0, 0.8)
    assert segments == []
    assert found.shape == (H, W)
    assert not found.any()


def test_instances_are_the_best_pairs_of_query_and_class():
    classes, masks = logits(3)
    p = classes.double().softmax(-1).numpy()[:, :-1]
    order = np.argsort(-p.ravel())[:7]
    found = best_instances(classes, masks, 7)
    for place, pair in enumerate(order):
        q, k = divmod(int(pair), K)
        inside = masks[q].numpy() > 0
        mean = sigmoid(masks[q].double().numpy())[inside].sum() / (inside.sum() + 1e-6)
        assert int(found.pred_classes[place]) == k
        assert np.array_equal(found.pred_masks[place].numpy(), inside)
        np.testing.assert_allclose(found.scores[place].item(), p[q, k] * mean, rtol=1e-5)


def test_boxes_are_those_of_the_masks():
    """The published code leaves them zero."""
    classes, masks = logits(3)
    masks[0] = -1.0
    found = best_instances(classes, masks, Q * K)
    for mask, box, score in zip(
        found.pred_masks.numpy(),
        found.pred_boxes.tensor.tolist(),
        found.scores.tolist(),
        strict=True,
    ):
        if not mask.any():
            assert (box, score) == ([0, 0, 0, 0], 0)
            continue
        ys, xs = np.nonzero(mask)
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_beside_segments_only_things_are_instances():
    classes, masks = logits(3)
    found = best_instances(classes, masks, Q * K, things={1, 2})
    assert set(found.pred_classes.tolist()) == {1, 2}
    assert len(found) == 2 * Q


def test_more_instances_than_pairs_gives_all_pairs():
    """Models of few queries and one class have fewer than a hundred."""
    classes, masks = logits()
    assert len(best_instances(classes[:, [0, -1]], masks, 100)) == Q
