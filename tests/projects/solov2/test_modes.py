"""Half precision, channels-last and compiled parts give what the plain model gives."""

import shutil

import pytest
import torch

from d2lite.projects.solov2.losses import dice_loss

from .small import image, small_model

COMMON = ("MODEL.SOLOV2.SCORE_THR", 0.001, "MODEL.SOLOV2.UPDATE_THR", 0.0)


# Tracing looks at attributes that torch warns about, and warnings are errors in tests.
quiet = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")


def batch() -> list[dict]:
    """An image with objects, and one without."""
    return [image(1, 4), image(2, 0)]


def losses_and_gradients(model, precision: torch.dtype | None = None):
    """Both losses as numbers, and every gradient in one vector."""
    model.zero_grad()
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        losses = model.losses(batch())
    sum(losses.values()).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    return {name: loss.item() for name, loss in losses.items()}, gradient


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_autocast_trains_like_float32(precision):
    """Losses near those of float32, gradients finite and of the same direction."""
    model = small_model("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS", 32,
                        "MODEL.RESNETS.RES2_OUT_CHANNELS", 32)  # fmt: skip
    wanted, gradient = losses_and_gradients(model)
    found, half_gradient = losses_and_gradients(model, precision)
    assert found == pytest.approx(wanted, rel=0.05)
    assert half_gradient.isfinite().all()
    assert torch.cosine_similarity(gradient, half_gradient, dim=0) > 0.98


@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_autocast_predicts_in_float32_at_the_end(precision):
    """Scores and boxes come in the common type, whatever the network computed in."""
    model = small_model(*COMMON).eval()
    with torch.autocast("cpu", dtype=precision):
        found = model([image(1, 0)])[0]["instances"]
    assert len(found) > 0
    assert found.scores.dtype == found.pred_boxes.tensor.dtype == torch.float32
    assert found.scores.isfinite().all()
    assert found.pred_masks.any()


def test_mask_loss_counts_more_pixels_than_float16_can():
    """Sums over pixels are taken in float32: float16 ends at 65504."""
    logits = torch.full((1, 300, 300), 4.0, dtype=torch.float16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = dice_loss(logits, torch.ones(1, 300, 300, dtype=torch.bool), torch.tensor([0]))
    assert loss.item() == pytest.approx(1 - 2 * 0.982 / (0.982**2 + 1), abs=1e-3)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_empty_batch_is_finite_where_the_sum_of_the_features_is_not():
    """What reaches the parameters without an object must not add the sum of all features."""
    model = small_model()
    with torch.autocast("cpu", dtype=torch.float16):
        losses = model.losses([image(1, 0, (384, 384))])
    assert losses["loss_ins"].item() == 0


def test_channels_last_changes_no_number():
    """The memory order of weights and images is a matter of speed."""
    model = small_model()
    wanted, gradient = losses_and_gradients(model)
    model.to(memory_format=torch.channels_last)
    found, other_gradient = losses_and_gradients(model)
    assert found == pytest.approx(wanted, rel=1e-4)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-2, atol=1e-4)


@torch.no_grad()
def test_channels_last_predicts_the_same():
    """Also at the seams, where masks are sorted and pasted."""
    model = small_model(*COMMON).eval()
    wanted = model([image(1, 0)])[0]["instances"]
    found = model.to(memory_format=torch.channels_last)([image(1, 0)])[0]["instances"]
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-3, atol=1e-5)
    assert (found.pred_masks == wanted.pred_masks).float().mean() > 0.999


def compile_parts(model, backend: str) -> None:
    """Backbone and heads in place, so that names of weights stay."""
    for part in (model.backbone, model.ins_head, model.mask_head):
        part.compile(backend=backend, fullgraph=True)


def check_compiled(backend: str) -> None:
    """Training and prediction of a compiled model against the plain one."""
    model = small_model(*COMMON)
    names = list(model.state_dict())
    wanted, gradient = losses_and_gradients(model)
    compile_parts(model, backend)
    found, other_gradient = losses_and_gradients(model)
    assert list(model.state_dict()) == names
    assert found == pytest.approx(wanted, rel=1e-3)
    assert torch.cosine_similarity(gradient, other_gradient, dim=0) > 0.999
    plain, compiled = (small_model(*COMMON).eval() for _ in range(2))
    compile_parts(compiled, backend)
    with torch.no_grad():
        # Before masks are cut at a threshold, where rounding may move a score by a whole pixel.
        pixels = plain.preprocess_image([image(1, 0)]).tensor
        for wanted, found in zip(plain._heads(pixels), compiled._heads(pixels), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
        assert len(compiled([image(1, 0)])[0]["instances"]) == 100


@quiet
def test_backbone_and_heads_are_captured_whole():
    """No graph break in the parts that torch.compile is for; nothing is generated here."""
    check_compiled("aot_eager")


@quiet
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C++ compiler")
def test_backbone_and_heads_compile():
    """The same with generated code, which takes a minute to build."""
    check_compiled("inductor")
