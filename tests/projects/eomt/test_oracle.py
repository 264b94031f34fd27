"""Equal numbers: what transformers computes with the same weights, and our model."""

import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import get_cfg
from d2lite.modeling import build_model
from d2lite.projects.eomt import add_eomt_config
from d2lite.utils.errors import ConfigError

from .small import NUM_CLASSES, published_model

pytest.importorskip("timm")


def base_cfg(*opts):
    cfg = get_cfg()
    add_eomt_config(cfg)
    cfg.merge_from_list(
        ["MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "EoMT", "MODEL.BACKBONE.FREEZE_AT", 0]
    )
    cfg.merge_from_list(list(opts))
    return cfg


def load_ours(model, folder):
    """Our model, from the folder that theirs was saved in and the path of it alone."""
    model.save_pretrained(folder)
    ours = build_model(base_cfg("MODEL.WEIGHTS", str(folder)))
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(folder))
    assert checkpointer.report.missing == []
    assert checkpointer.report.unexpected == []
    return ours.eval()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("kind", ["Eomt", "EomtDinov3"])
def test_classes_and_masks_are_theirs(tmp_path, kind, masked):
    theirs = published_model(kind)
    theirs.attn_mask_probs.fill_(float(masked))
    ours = load_ours(theirs, tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels)
        found = ours.predict_queries(pixels)
    assert len(found["aux_outputs"]) == 2 * masked
    for name, their in (
        ("pred_logits", expected.class_queries_logits),
        ("pred_masks", expected.masks_queries_logits),
    ):
        torch.testing.assert_close(found[name], their, rtol=1e-4, atol=1e-4)


def _even_points(*size, **options):
    """Points that do not depend on who asks: as many of one row as are wanted."""
    rows = torch.linspace(0.01, 0.99, size[-2])
    points = torch.stack([rows, (rows * 37) % 1], dim=-1)
    return points.expand(*size).contiguous()


@pytest.mark.parametrize("kind", ["Eomt", "EomtDinov3"])
def test_losses_are_theirs(tmp_path, kind, monkeypatch):
    theirs = published_model(kind)
    ours = load_ours(theirs, tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    masks = [torch.zeros(count, 64, 64) for count in (2, 1)]
    masks[0][0, 5:30, 8:40] = masks[0][1, 30:60, 20:50] = masks[1][0, 10:50, 12:33] = 1
    labels = [torch.tensor([1, 4]), torch.tensor([0])]
    monkeypatch.setattr(torch, "rand", _even_points)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels, mask_labels=masks, class_labels=labels).loss
        targets = [
            {"labels": of_image, "masks": maps.bool()}
            for of_image, maps in zip(labels, masks, strict=True)
        ]
        losses = ours.criterion(ours.predict_queries(pixels), targets)
    weights = ours.criterion.weight_dict
    assert len(losses) == 9
    found = sum(loss * weights[name] for name, loss in losses.items())
    assert float(found) == pytest.approx(float(expected), abs=1e-3)


def test_values_of_the_command_line_stay(tmp_path):
    published_model("Eomt").save_pretrained(tmp_path)
    model = build_model(base_cfg("MODEL.WEIGHTS", str(tmp_path), "MODEL.EOMT.QUERIES", 9))
    assert model.q.num_embeddings == 9
    assert model.class_head.out_features == NUM_CLASSES + 1


def test_a_form_that_is_not_built_is_refused(tmp_path):
    model = published_model("Eomt")
    model.config.num_register_tokens = 2
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="num_register_tokens=2, which this model does not"):
        build_model(base_cfg("MODEL.WEIGHTS", str(tmp_path)))


def test_names_of_the_original_code_are_taken(tmp_path):
    from .small import small_cfg

    model = build_model(small_cfg())
    weights = {
        ("" if name.startswith("criterion") else "network.")
        + name.replace("backbone.net.", "encoder.backbone.", 1): value + 1
        for name, value in model.state_dict().items()
        if not name.startswith("pixel")
    }
    torch.save({"state_dict": weights}, tmp_path / "eomt.ckpt.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "eomt.ckpt.pth"))
    assert checkpointer.report.missing == []
    assert torch.equal(model.q.weight, weights["network.q.weight"])
