"""DETR, Deformable DETR and DINO on images of all kinds: losses, results, padding, precision."""

import pytest
import torch

from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import draw_key

from ..rtdetr.small import NUM_CLASSES, image
from .small import KINDS, build


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "counts", [(0, 0), (0, 3), (1, 2), (300, 1)], ids=["none", "one without", "few", "300"]
)
def test_losses_are_finite_and_reach_every_parameter(kind, counts):
    """DistributedDataParallel waits for parameters without a gradient; empty batches are ordinary.

    300 objects are more than queries, and two images of unequal sizes are padded.
    """
    model = build(kind)
    batch = [image(0, counts[0]), image(1, counts[1], 50, 70)]
    losses = model(batch)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    missing = [
        name
        for name, value in model.named_parameters()
        if value.requires_grad and value.grad is None
    ]
    assert not missing
    assert all(value.grad.isfinite().all() for value in model.parameters() if value.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_its_losses(kind):
    names = set(build(kind)([image(0, 2)]))
    endings = {
        "two stages": ["", "_aux_0", "_enc"],
        "dino": ["", "_aux_0", "_enc_0", "_dn_0", "_dn_1"],
    }.get(kind, ["", "_aux_0"])
    of_classes = "ce" if kind == "detr" else "focal"
    assert names == {
        f"loss_{name}{ending}" for name in (of_classes, "bbox", "giou") for ending in endings
    }


@pytest.mark.parametrize("kind", ["detr", "refined", "dino"])
def test_the_last_layer_alone_can_have_losses(kind):
    deep = set(build(kind)([image(0, 2)]))
    names = set(build(kind, "MODEL.DETR.DEEP_SUPERVISION", False)([image(0, 2)]))
    last = {name.replace("_dn_1", "_dn_0") for name in deep if "_aux" not in name}
    assert names == last


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_boxes_in_pixels_of_the_wanted_size(kind):
    model = build(kind).eval()
    items = [{**image(0, 0, 61, 95), "height": 122, "width": 190}]
    with torch.no_grad():
        found = model(items)[0]["instances"]
    assert isinstance(found, Instances)
    assert found.image_size == (122, 190)
    assert 0 < len(found) <= 10
    assert found.pred_boxes.tensor.min() >= 0
    assert (found.pred_boxes.tensor[:, 2] <= 190).all()
    assert (found.pred_boxes.tensor[:, 3] <= 122).all()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.pred_classes.max() < NUM_CLASSES


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_alone_and_in_a_padded_batch_gives_the_same_result(kind):
    model = build(kind).eval()
    items = [image(0, 0, 60, 90), image(1, 0, 96, 64), image(2, 0, 60, 90)]
    with torch.no_grad():
        together = [out["instances"] for out in model(items)]
        alone = [model([item])[0]["instances"] for item in items]
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first.scores, second.scores)
        torch.testing.assert_close(
            first.pred_boxes.tensor, second.pred_boxes.tensor, atol=1e-3, rtol=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (20, 33), (32, 32)])
def test_images_of_fewer_cells_than_queries_train_and_predict(kind, size):
    model = build(kind, "MODEL.DETR.NUM_OBJECT_QUERIES", 100)
    item = image(0, 1, *size)
    losses = model([item, image(1, 2, 64, 64)])
    assert all(loss.isfinite() for loss in losses.values())
    model.eval()
    with torch.no_grad():
        found = model([item])[0]["instances"]
    assert found.scores.isfinite().all()
    assert found.image_size == size


@pytest.mark.parametrize("kind", KINDS)
def test_another_size_in_prediction_than_in_training_works(kind):
    model = build(kind)
    model([image(0, 2, 64, 64)])
    model.eval()
    with torch.no_grad():
        assert len(model([image(0, 0, 128, 224)])[0]["instances"])


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_and_fewer_pairs_than_results(kind):
    model = build(kind, "MODEL.DETR.NUM_CLASSES", 1, "TEST.DETECTIONS_PER_IMAGE", 300)
    item = image(0, 2)
    item["instances"].gt_classes.zero_()
    assert all(loss.isfinite() for loss in model([item]).values())
    model.eval()
    with torch.no_grad():
        found = model([item])[0]["instances"]
    assert len(found) <= 12
    assert (found.pred_classes == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_gives_nearly_the_same_losses(kind):
    """Places, costs and losses are computed in float32."""
    batch = [{**image(seed, 3), "draw_key": seed} for seed in range(2)]
    model = build(kind, "MODEL.DETR.DROPOUT", 0.0)
    with torch.no_grad():
        full = model.losses(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model.losses(batch)
    assert all(loss.dtype == torch.float32 for loss in half.values())
    assert abs(sum(half.values()) / sum(full.values()) - 1) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_that_is_not_finite_names_image_and_query(kind):
    """Scipy would report a matrix with invalid entries, after hours, and nothing more."""
    model = build(kind)
    heads = model.class_embed if kind == "detr" else model.class_embed[1]
    with torch.no_grad():
        heads.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"query 0 for image 0 .*decoder layer [01]"):
        model([image(0, 2)])


def test_noise_of_an_image_follows_from_its_key():
    batch = [{**image(seed, 2), "draw_key": draw_key(0, seed)} for seed in range(2)]
    model = build("dino")
    torch.manual_seed(1)
    first = model.losses(batch)
    torch.manual_seed(2)
    second = model.losses(batch)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_detr_gives_one_class_for_each_query_and_never_the_one_of_no_object():
    model = build("detr", "TEST.DETECTIONS_PER_IMAGE", 2)
    logits = torch.tensor([[[0.0, 0.0, 1.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    scores, classes, queries = model.best_queries(logits)
    assert queries.tolist() == [[1, 2]]
    assert classes.tolist() == [[0, 1]]
    expected = logits.softmax(dim=-1)
    assert scores.tolist() == [[expected[0, 1, 0].item(), expected[0, 2, 1].item()]]


def test_without_refinement_one_head_serves_all_layers():
    plain, refined = build("deformable"), build("refined")
    assert plain.class_embed[0] is plain.class_embed[1]
    assert refined.class_embed[0] is not refined.class_embed[1]
    assert plain.state_dict().keys() == refined.state_dict().keys()


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.DETR.TWO_STAGE", True], "needs MODEL.DETR.WITH_BOX_REFINE True"),
        (["MODEL.DETR.IN_FEATURES", ["res2", "res5"]], "the backbone has the maps"),
        (["MODEL.DETR.NUM_FEATURE_LEVELS", 2], r"NUM_FEATURE_LEVELS \(found 2\)"),
    ],
)
def test_options_that_do_not_fit_are_refused(opts, message):
    with pytest.raises(ConfigError, match=message):
        build("deformable", *opts)
