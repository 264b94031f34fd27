"""Losses and starts of the queries of RT-DETR and D-FINE, and options that are refused."""

import pytest
import torch

from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import DrawPurpose, draw_key

from .small import KINDS, build, image


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
        (["MODEL.RTDETR.DECODER.METHOD", "fast"], r"DECODER.METHOD='fast': use one of .*discrete"),
        (["MODEL.RTDETR.ENCODER.BLOCKS", "fast"], r"ENCODER.BLOCKS='fast': use one of .*elan"),
        (["MODEL.RTDETR.LOSS.CLASS", "fast"], r"LOSS.CLASS='fast': use one of .*vfl"),
        (["MODEL.RTDETR.DECODER.POINTS", [4, 4]], r"as many numbers in MODEL.RTDETR.DECODER.POI"),
        (["MODEL.RTDETR.IN_FEATURES", ["res2", "res4", "res5"]], r"the backbone has the maps"),
        (["MODEL.BACKBONE.NAME", "build_hgnet_backbone", "MODEL.HGNET.VARIANT", "B9"], "B0, B1"),
    ],
)
def test_options_that_do_not_fit_are_refused(opts, message):
    with pytest.raises(ConfigError, match=message):
        build("rtdetr", *opts)
