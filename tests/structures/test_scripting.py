"""TorchScript compiles what scripted models of others use."""

import pytest
import torch

from d2lite.structures import Boxes, ImageList, RotatedBoxes

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")

XYXY = torch.tensor([[2, 3, 20, 9.0], [15, 1, 18, 4]])


def _use_boxes(values: torch.Tensor):
    boxes = Boxes(values).clone().to(torch.device("cpu"))
    boxes.clip((10, 12))
    boxes.scale(2.0, 0.5)
    picked = boxes[boxes.nonempty()].tensor
    return boxes.area(), picked, boxes.inside_box((5, 24)), boxes.get_centers(), len(boxes)


def _use_images(images: list[torch.Tensor]):
    plain = ImageList.from_tensors(images, 8, 2.0)
    square = ImageList.from_tensors(images, 0, 0.0, {"square_size": 20, "size_divisibility": 16})
    return plain.tensor, plain[1], square.tensor, len(square), square.image_sizes


def test_boxes_give_the_same_in_a_script():
    area, picked, inside, centres, count = torch.jit.script(_use_boxes)(XYXY)
    assert area.tolist() == [60, 0]
    expected = _use_boxes(XYXY)
    assert picked.equal(expected[1])
    assert inside.equal(expected[2])
    assert centres.equal(expected[3])
    assert count == 2


@pytest.mark.parametrize(("kind", "width"), [(Boxes, 4), (RotatedBoxes, 5)])
def test_boxes_are_joined_in_a_script_and_without_one(kind, width):
    def join(values: torch.Tensor):
        boxes = kind(values)
        return boxes.cat([boxes, boxes]).tensor

    values = torch.rand(3, width)
    assert torch.jit.script(join)(values).equal(torch.cat([values, values]))
    assert kind.cat([]).tensor.shape == (0, width)
    alone = kind(values)
    kind.cat([alone]).tensor.fill_(7)
    assert alone.tensor.max() < 1


def test_rotated_boxes_are_picked_in_a_script():
    def pick(values: torch.Tensor, which: torch.Tensor):
        return RotatedBoxes(values)[which].tensor

    values = torch.rand(3, 5)
    assert torch.jit.script(pick)(values, torch.tensor([2, 0])).equal(values[[2, 0]])
    assert RotatedBoxes(values)[1].tensor.equal(values[1:2])


def test_boxes_of_a_wrong_shape_are_refused_in_a_script():
    with pytest.raises(Exception, match=r"shape \[2, 3\]; give \(N, 4\)"):
        torch.jit.script(_use_boxes)(torch.zeros(2, 3))


def test_images_are_padded_alike_in_a_script():
    images = [torch.zeros(3, 5, 9), torch.ones(3, 7, 6)]
    scripted, plain = torch.jit.script(_use_images)(images), _use_images(images)
    assert scripted[0].shape == (2, 3, 8, 16)
    assert scripted[2].shape == (2, 3, 32, 32)
    for ours, theirs in zip(scripted[:3], plain[:3], strict=True):
        assert ours.equal(theirs)
    assert scripted[3:] == plain[3:]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_trace_of_a_batch_pads_images_of_other_sizes():
    def pad(images):
        batch = ImageList.from_tensors(images, 4)
        return batch.tensor, batch.image_sizes

    shapes = [(3, 16, 10), (3, 13, 11)]
    traced = torch.jit.trace(pad, ([torch.zeros(shape) for shape in shapes],))
    batch, sizes = traced([torch.ones(3, 25, 20), torch.ones(3, 10, 10)])
    assert batch.shape == (2, 3, 28, 20)
    assert batch.sum() == 3 * (25 * 20 + 10 * 10)
    assert [size.tolist() for size in sizes] == [[25, 20], [10, 10]]
