"""Losses and results of DETR, Deformable DETR and DINO, and options that are refused."""

import pytest
import torch

from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import draw_key

from ..rtdetr.small import image
from .small import KINDS, build


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
