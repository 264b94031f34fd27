"""Resizing and padding inside of an exported file are those of evaluation."""

import numpy as np
import pytest
import torch

from d2lite.data.transforms import AugInput, ResizeShortestEdge
from d2lite.export.preprocessing import Preprocessing, Resize, axis_weights, resized
from d2lite.modeling.postprocessing import sem_seg_postprocess
from tests.modeling.small_detectors import images_of, small_detector

SIZES = [(96, 150), (140, 100), (64, 64), (33, 200), (300, 200), (7, 9)]


def test_sizes_are_those_of_the_augmentation():
    """Wrong sizes give boxes that are silently wrong (torchvision 1840)."""
    sizes = [(h, w) for h in range(30, 700, 37) for w in range(31, 900, 41)]
    found = resized(torch.tensor(sizes), Resize("shortest_edge", 128, 200))
    expected = [ResizeShortestEdge.get_output_shape(h, w, 128, 200) for h, w in sizes]
    assert found.tolist() == [list(size) for size in expected]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_evaluation(size):
    model = small_detector("retinanet")
    image = images_of([size])[0]["image"]
    step = AugInput(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    ResizeShortestEdge(64, 96)(step)
    seen = torch.from_numpy(np.ascontiguousarray(step.image.transpose(2, 0, 1)))
    expected = model.preprocess_image([{"image": seen}])
    found, sizes = Preprocessing(model, Resize("shortest_edge", 64, 96))(
        image[None], torch.tensor([size])
    )
    assert [tuple(size) for size in sizes.tolist()] == expected.image_sizes
    assert torch.equal(found, expected.tensor)


def test_each_image_of_a_batch_is_prepared_as_if_it_were_alone():
    """A padded batch lost a third of the AP elsewhere (mmdetection 5168)."""
    model = small_detector("retinanet")
    step = Preprocessing(model, Resize("shortest_edge", 64, 96))
    images = [item["image"] for item in images_of(SIZES)]
    # Pixels beyond an image are not read.
    batch = torch.full((len(images), 3, 300, 200), 77, dtype=torch.uint8)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    together, _ = step(batch, torch.tensor(SIZES))
    for row, image, size in zip(together, images, SIZES, strict=True):
        alone, _ = step(image[None], torch.tensor([size]))
        height, width = alone.shape[2:]
        torch.testing.assert_close(row[:, :height, :width], alone[0])
        assert not row[:, height:].any()
        assert not row[:, :, width:].any()


def test_without_resizing_images_are_padded_alone():
    model = small_detector("retinanet")
    batch = images_of([(50, 70), (64, 33)])
    expected = model.preprocess_image(batch)
    images = torch.zeros(2, 3, 64, 70, dtype=torch.uint8)
    for row, item in zip(images, batch, strict=True):
        row[:, : item["height"], : item["width"]] = item["image"]
    found, _ = Preprocessing(model, Resize())(images, torch.tensor(expected.image_sizes))
    assert torch.equal(found, expected.tensor)


def test_maps_of_scores_are_resized_as_by_the_model():
    scores = torch.rand(4, 64, 96, generator=torch.Generator().manual_seed(0))
    seen, wanted = torch.tensor([[50, 90]]), torch.tensor([[77, 61]])
    expected = sem_seg_postprocess(scores, (50, 90), 77, 61)
    down = axis_weights(64, seen[:, 0], 80, wanted[:, 0], antialias=False)
    across = axis_weights(96, seen[:, 1], 70, wanted[:, 1], antialias=False)
    found = (down[:, None] @ scores[None] @ across[:, None].mT)[0]
    torch.testing.assert_close(found[:, :77, :61], expected)
    assert not found[:, 77:].any()
