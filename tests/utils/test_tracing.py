"""Models as functions from tensors to tensors."""

import pytest
import torch
from torch import nn

from d2lite.export import TracingAdapter
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
    assert [tuple(t.shape) for t in adapter.flattened_inputs] == [(3, 4, 6), (4, 4)]
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


def test_outputs_of_another_structure_are_refused():
    adapter = TracingAdapter(nn.Identity(), inputs(), lambda model, batch: batch * len(seen))
    seen = [1]
    adapter(*adapter.flattened_inputs)
    seen.append(2)
    with pytest.raises(DataError, match="another structure"):
        adapter(*adapter.flattened_inputs)
