"""RTDETR on images of all kinds: losses, results, padding and precision."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import DrawPurpose, draw_key

from .small import NUM_CLASSES, image, small_cfg

KINDS = ("rtdetr", "dfine")


def build(kind, *opts, seed=0):
    """A small model with start values of a seed."""
    torch.manual_seed(seed)
    return build_model(small_cfg(kind, *opts))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "counts", [(0, 0), (0, 3), (1, 2), (300, 1)], ids=["none", "one without", "few", "300"]
)
def test_losses_are_finite_and_reach_every_parameter(kind, counts):
    """DistributedDataParallel waits for parameters without a gradient; empty batches are ordinary.

    300 objects are more than queries.
    """
    model = build(kind)
    losses = model([image(seed, count) for seed, count in enumerate(counts)])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missing
    assert all(value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_its_losses(kind):
    names = set(build(kind)([image(0, 2)]))
    kinds = ["vfl", "bbox", "giou"]
    endings = ["", "_aux_0", "_enc_0", "_dn_0", "_dn_1"]
    if kind == "dfine":
        endings += ["_pre", "_dn_pre"]
    expected = {f"loss_{name}{ending}" for name in kinds for ending in endings}
    if kind == "dfine":
        expected |= {f"loss_fgl{ending}" for ending in ("", "_aux_0", "_dn_0", "_dn_1")}
        expected |= {"loss_ddf_aux_0", "loss_ddf_dn_0"}
    assert names == expected


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
    """32 x 32 pixels have 16 + 4 + 1 cells."""
    model = build(kind, "MODEL.RTDETR.DECODER.QUERIES", 40)
    item = image(0, 1, *size)
    other = image(1, 2, 64, 64)
    losses = model([item, other])
    assert all(loss.isfinite() for loss in losses.values())
    model.eval()
    with torch.no_grad():
        found = model([item])[0]["instances"]
    assert found.scores.isfinite().all()
    assert found.image_size == size


def test_no_query_starts_in_the_padding():
    model = build("rtdetr")
    maps = [torch.randn(1, 16, 8, 8), torch.randn(1, 16, 4, 4), torch.randn(1, 16, 2, 2)]
    hidden = [torch.zeros(1, *level.shape[-2:], dtype=torch.bool) for level in maps]
    for mask in hidden:
        mask[:, :, mask.shape[2] // 2 :] = True
    boxes = model.decoder(maps, hidden, None).found.boxes
    with torch.no_grad():
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        _, _, start = model.decoder._choose(cells, [(8, 8), (4, 4), (2, 2)], hidden)
    assert boxes.shape[2] == start.shape[1] == 12
    assert (start[..., 0] < 0.5).all()


def test_another_size_in_prediction_than_in_training_works():
    model = build("rtdetr")
    model([image(0, 2, 64, 64)])
    model.eval()
    with torch.no_grad():
        assert len(model([image(0, 0, 128, 224)])[0]["instances"])


def test_one_class_and_fewer_pairs_than_results():
    model = build("rtdetr", "MODEL.RTDETR.NUM_CLASSES", 1, "TEST.DETECTIONS_PER_IMAGE", 300)
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
    model = build(kind)
    with torch.no_grad():
        full = model.losses(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model.losses(batch)
    assert all(loss.dtype == torch.float32 for loss in half.values())
    assert abs(sum(half.values()) / sum(full.values()) - 1) < 0.05


def test_a_prediction_that_is_not_finite_names_image_and_query():
    """Scipy would report a matrix with invalid entries, after hours, and nothing more."""
    model = build("rtdetr")
    with torch.no_grad():
        model.decoder.dec_bbox_head[1].layers[-1].bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"query 0 for image 0 .*decoder layer 1"):
        model([image(0, 2)])


def test_noise_of_an_image_follows_from_its_key():
    """The same for a batch and for its parts, which accumulation and processes make."""
    assert DrawPurpose.DENOISING == 3
    batch = [{**image(seed, 2), "draw_key": draw_key(0, seed)} for seed in range(2)]
    model = build("rtdetr", "MODEL.RTDETR.NORM", "FrozenBN", "MODEL.RESNETS.NORM", "FrozenBN")
    torch.manual_seed(1)
    first = model.losses(batch)
    torch.manual_seed(2)
    second = model.losses(batch)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_objects_that_are_larger_than_the_steps_of_edges_train():
    model = build("dfine")
    item = image(0, 1)
    item["instances"].gt_boxes.tensor[:] = torch.tensor([0.0, 0.0, 96.0, 64.0])
    assert all(loss.isfinite() for loss in model([item]).values())


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.RTDETR.DECODER.KIND", "fast"], r"KIND is 'fast'; choose one of rtdetr, dfine"),
        (["MODEL.RTDETR.DECODER.POINTS", [4, 4]], r"as many numbers in MODEL.RTDETR.DECODER.POI"),
        (["MODEL.RTDETR.IN_FEATURES", ["res2", "res4", "res5"]], r"the backbone has the maps"),
        (["MODEL.BACKBONE.NAME", "build_hgnet_backbone", "MODEL.HGNET.VARIANT", "B9"], "B0, B1"),
    ],
)
def test_options_that_do_not_fit_are_refused(opts, message):
    with pytest.raises(ConfigError, match=message):
        build("rtdetr", *opts)
