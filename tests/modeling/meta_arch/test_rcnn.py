"""GeneralizedRCNN and ProposalNetwork, whole."""

import copy

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import DataError
from d2lite.utils.events import EventStorage

from .tiny import batch, empty_batch, rcnn_config


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    return build_model(rcnn_config())


@pytest.fixture
def model(built):
    return copy.deepcopy(built)


def test_a_batch_gives_the_four_losses_of_faster_rcnn(model):
    losses = model(batch())
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_batch_without_objects_gives_finite_losses_and_gradients_everywhere(model):
    losses = model(empty_batch())
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trainable)


def test_channels_last_is_a_matter_of_memory_alone(model):
    """MODEL.CHANNELS_LAST: other strides, the same losses and weights of the same names."""
    cfg = rcnn_config()
    cfg.MODEL.CHANNELS_LAST = True
    other = build_model(cfg)
    other.load_state_dict(model.state_dict())
    kernels = [p for p in other.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    keyed = [{**x, "draw_key": i} for i, x in enumerate(batch())]
    wanted, found = model(keyed), other(keyed)
    for name, loss in wanted.items():
        torch.testing.assert_close(found[name], loss, rtol=1e-4, atol=1e-5)


def test_losses_in_half_precision_are_about_those_in_full(model):
    keyed = [{**x, "draw_key": i} for i, x in enumerate(batch())]
    full = model(keyed)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(keyed)
    for name, loss in half.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, full[name], rtol=0.3, atol=0.05)


def test_keyed_images_give_the_same_losses_again(model):
    keyed = [{**x, "draw_key": i} for i, x in enumerate(batch())]
    first, again = model(keyed), model(keyed)
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in again.items()}


def test_detections_come_in_the_asked_size_or_as_the_network_sees_them(model):
    model.eval()
    with torch.no_grad():
        scaled = model(batch())
        raw = model.inference(batch(), do_postprocess=False)
    for one, result, plain in zip(batch(), scaled, raw, strict=True):
        assert result["instances"].image_size == (one["height"], one["width"])
        assert plain.image_size == tuple(one["image"].shape[-2:])


def test_known_boxes_are_handed_through_with_what_is_added_to_them(model):
    model.eval()
    given = []
    for one in batch():
        boxes = Boxes(torch.tensor([[5.0, 5.0, 20.0, 25.0]]))
        size = tuple(one["image"].shape[-2:])
        given.append(
            Instances(size, pred_boxes=boxes, pred_classes=torch.tensor([1]), scores=torch.ones(1))
        )
    with torch.no_grad():
        results = model.inference(batch(), detected_instances=given)
    for result in results:
        assert result["instances"].pred_boxes.tensor.tolist() == [[10, 10, 40, 50]]


def test_pictures_of_proposals_are_logged_at_their_period(model):
    model.vis_period = 5
    with EventStorage(5) as storage:
        model(batch())
        assert [name for name, *_ in storage.images] == ["Left: truth; right: proposals"]


def test_proposals_may_come_with_the_data():
    cfg = rcnn_config()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    model = build_model(cfg)
    with pytest.raises(DataError, match="LOAD_PROPOSALS"):
        model(batch())
    images = batch()
    for one in images:
        size = tuple(one["image"].shape[-2:])
        boxes = Boxes(torch.tensor([[5.0, 5.0, 30.0, 30.0], [40.0, 10.0, 70.0, 60.0]]))
        one["proposals"] = Instances(size, proposal_boxes=boxes, objectness_logits=torch.zeros(2))
    assert set(model(images)) == {"loss_cls", "loss_box_reg"}
    with torch.no_grad():
        assert len(model.eval()(images)) == 2


@pytest.fixture(scope="module")
def proposal_network():
    torch.manual_seed(0)
    return build_model(rcnn_config("ProposalNetwork"))


def test_a_proposal_network_learns_from_boxes_alone(proposal_network):
    losses = proposal_network.train()(batch())
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"}


def test_a_proposal_network_takes_any_proposal_generator(proposal_network):
    """Users' generators have no default for the truth, and may name their boxes as detections."""

    class Fixed(torch.nn.Module):
        def forward(self, images, features, gt_instances):
            assert gt_instances is None
            boxes = Boxes(torch.tensor([[1.0, 2.0, 5.0, 6.0]]))
            sizes = images.image_sizes
            return [Instances(size, pred_boxes=boxes, scores=torch.ones(1)) for size in sizes], {}

    model = copy.copy(proposal_network.eval())
    model._modules = {**model._modules, "proposal_generator": Fixed()}
    image = {"image": torch.zeros(3, 32, 64), "height": 64, "width": 64}
    assert model([image])[0]["proposals"].pred_boxes.tensor.tolist() == [[1, 4, 5, 12]]


def test_a_proposal_network_returns_proposals_of_the_asked_size(proposal_network):
    with torch.no_grad():
        results = proposal_network.eval()(batch())
    for one, result in zip(batch(), results, strict=True):
        found = result["proposals"]
        assert found.image_size == (one["height"], one["width"])
        assert 0 < len(found) <= 50
        assert found.proposal_boxes.tensor[:, 2].max() > one["image"].shape[-1]
