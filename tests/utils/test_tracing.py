"""Models as functions from tensors to tensors."""

import pytest
import torch
from torch import nn

from d2lite.engine import setup_cfg
from d2lite.export import TracingAdapter
from d2lite.export.flatten import flatten_to_tuple
from d2lite.modeling import GeneralizedRCNN, build_model
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import DataError


class Finder(nn.Module):
    """Moves the boxes of a list of dicts, as a detector's inputs and outputs are arranged."""

    def forward(self, batch):
        found = []
        for sample in batch:
            boxes = sample["boxes"].tensor + sample["image"].mean()
            one = Instances((4, 6), pred_boxes=Boxes(boxes), scores=boxes.sum(dim=1))
            found.append({"instances": one, "pair": (boxes, [boxes * 2])})
        return found


def inputs(value=1.0):
    return [{"image": torch.full((3, 4, 6), value), "boxes": Boxes(torch.eye(4) * value)}]


def test_outputs_are_put_together_again():
    adapter = TracingAdapter(Finder(), inputs())
    assert [tuple(t.shape) for t in adapter.flattened_inputs] == [(4, 4), (3, 4, 6)]
    assert adapter.outputs_schema is None
    tensors = adapter(*adapter.flattened_inputs)
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors)
    [found] = adapter.outputs_schema(tensors)
    [wanted] = Finder()(inputs())
    assert isinstance(found["instances"].pred_boxes, Boxes)
    assert torch.equal(found["instances"].pred_boxes.tensor, wanted["instances"].pred_boxes.tensor)
    assert torch.equal(found["instances"].scores, wanted["instances"].scores)
    assert torch.equal(found["pair"][1][0], wanted["pair"][1][0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore::torch.jit.TracerWarning")
def test_a_traced_model_takes_and_gives_what_the_model_does():
    adapter = TracingAdapter(Finder(), inputs())
    run = adapter._create_wrapper(torch.jit.trace(adapter, adapter.flattened_inputs))
    [found], [wanted] = run(inputs(2.0)), Finder()(inputs(2.0))
    assert torch.equal(found["instances"].scores, wanted["instances"].scores)


def test_plain_tensors_need_no_schema():
    adapter = TracingAdapter(nn.ReLU(), (torch.ones(2),), lambda model, x: model(-x))
    assert adapter.inputs_schema is None
    assert torch.equal(adapter(torch.ones(2))[0], torch.zeros(2))


@pytest.mark.parametrize("allowed", [True, False])
def test_values_that_are_not_tensors_are_taken_only_if_allowed(allowed):
    batch = [{**inputs()[0], "height": 4}]
    if not allowed:
        with pytest.raises(ValueError, match=r"not tensors \(int\)"):
            TracingAdapter(Finder(), batch)
        return
    adapter = TracingAdapter(Finder(), batch, allow_non_tensor=True)
    assert adapter.inputs_schema(adapter.flattened_inputs)[0][0]["height"] == 4


def test_numbers_are_parts_too_of_what_is_flattened():
    value = [3, ([5, 6], {"name": [7, "x"]}), inputs()[0]]
    parts, schema = flatten_to_tuple(value)
    assert parts[:5] == (3, 5, 6, 7, "x")
    assert [tuple(part.shape) for part in parts[5:]] == [(4, 4), (3, 4, 6)]
    again = schema((4, *parts[1:]))
    assert again[:2] == [4, ([5, 6], {"name": [7, "x"]})]
    assert flatten_to_tuple(again)[1] == schema


def test_fields_are_flattened_by_name_and_the_image_size_comes_last():
    fields = {"scores": torch.ones(1), "pred_boxes": Boxes(torch.zeros(1, 4))}
    one = Instances((4, 6), pred_classes=torch.tensor([3]), **fields)
    parts, schema = flatten_to_tuple(one)
    assert [part.tolist() for part in parts] == [[[0.0] * 4], [3], [1.0], [4, 6]]
    assert schema(parts).image_size == (4, 6)
    size = torch.tensor([5, 8])
    assert flatten_to_tuple({"b": Instances(size), "a": 1})[0] == (1, size)


def test_outputs_of_another_structure_are_refused():
    adapter = TracingAdapter(nn.Identity(), inputs(), lambda model, batch: batch * len(seen))
    seen = [1]
    adapter(*adapter.flattened_inputs)
    seen.append(2)
    with pytest.raises(DataError, match="another structure"):
        adapter(*adapter.flattened_inputs)


DENSE = ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.MASK_ON", "False"]
# Models, and what tells them from the quick start's Mask R-CNN.
MODELS = {
    "Mask R-CNN": [],
    "Cascade": ["MODEL.ROI_HEADS.NAME", "CascadeROIHeads"],
    "RetinaNet": [*DENSE, "MODEL.RETINANET.IN_FEATURES", "['p2', 'p3', 'p4']"],
    "proposals": ["MODEL.META_ARCHITECTURE", "ProposalNetwork", "MODEL.MASK_ON", "False"],
    "keypoints": [
        *("MODEL.KEYPOINT_ON", "True", "MODEL.MASK_ON", "False"),
        *("MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", "[32, 32]"),
    ],
}
OPTIONS = [
    *("MODEL.ROI_HEADS.IOU_THRESHOLDS", "[0.5]", "MODEL.ROI_HEADS.IOU_LABELS", "[0, 1]"),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.RETINANET.SCORE_THRESH_TEST", "0.0"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "1000", "TEST.DETECTIONS_PER_IMAGE", "5000"),
    *("MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.2"),
]


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", MODELS)
def test_a_traced_detector_takes_images_of_other_sizes_with_more_objects_or_none(name):
    torch.manual_seed(0)
    model = build_model(setup_cfg("quick_start.yaml", [*MODELS[name], *OPTIONS])).eval()
    shapes = [(3, 96, 128), (3, 128, 96), (3, 64, 160), (3, 32, 32)]
    images = [torch.rand(shape) * 255 for shape in shapes]
    adapter = TracingAdapter(model, [{"image": images[0]}], run_without_pasting)
    if name != "proposals":  # a threshold that nothing in the smallest image passes
        owner = model if name == "RetinaNet" else model.roi_heads.box_predictor
        owner = owner[-1] if name == "Cascade" else owner
        owner.test_score_thresh = float(adapter(images[-1])[-2].max())
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    counts = []
    for image in images:
        wanted, found = adapter(image), traced(image)
        assert found[-1].tolist() == list(image.shape[1:])
        assert [t.shape for t in found] == [t.shape for t in wanted]
        for one, other in zip(found, wanted, strict=True):
            # The last column of keypoints is an exponential.
            torch.testing.assert_close(one[..., :2], other[..., :2], rtol=1e-4, atol=1e-3)
        counts.append(len(found[0]))
    assert len(set(counts[:-1])) > 1
    assert counts[-1] == 0 or name == "proposals"


def run_without_pasting(model, batch):
    """Run a model whose masks stay in their boxes."""
    if isinstance(model, GeneralizedRCNN):
        return model.inference(batch, do_postprocess=False)
    return model(batch)
