"""The fixed-size form gives what the ordinary one gives."""

import pytest
import torch
import torch.nn.functional as F

from d2lite.export import ExportedModel
from d2lite.export.comparison import Tolerance, compare_results
from d2lite.export.export_model import make_function
from d2lite.export.metadata import describe
from d2lite.modeling import build_model
from d2lite.projects.panoptic_deeplab import PanopticDeepLab
from d2lite.projects.panoptic_deeplab.padded import find_centers_padded, group_pixels_padded
from d2lite.projects.panoptic_deeplab.post_processing import find_instance_center, group_pixels
from tests.export.test_queries import InMemory
from tests.modeling.small_detectors import images_of

from .small import NUM_CLASSES, small_cfg


@pytest.mark.parametrize("top_k", [3, 30, 5000])
def test_centres_and_pixels_of_a_batch_are_those_of_each_image(top_k):
    generator = torch.Generator().manual_seed(top_k)
    heat = torch.rand(2, 1, 24, 40, generator=generator)
    heat[1, :, 20:], heat[1, :, :, 30:] = 0, 0
    offsets = torch.randn(2, 2, 24, 40, generator=generator) * 9
    centers, valid = find_centers_padded(heat, 0.4, 5, top_k)
    numbers = group_pixels_padded(centers, valid, offsets)
    assert valid.shape == (2, top_k)
    for image, (height, width) in enumerate([(24, 40), (20, 30)]):
        expected = find_instance_center(heat[image, :, :height, :width], 0.4, 5, top_k)
        assert 1 < len(expected) < top_k
        torch.testing.assert_close(centers[image][valid[image]].long(), expected)
        own = group_pixels(expected, offsets[image, :, :height, :width])[0]
        torch.testing.assert_close(numbers[image, :height, :width], own)


def smooth_maps(self, images):
    """Scores, centres and offsets in the place of those of a trained network."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(len(images), NUM_CLASSES + 3, 7, 9, generator=generator)
    maps = F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=True)
    scores, heat, offsets = maps.split([NUM_CLASSES, 1, 2], dim=1)
    return scores, heat, (offsets - 0.5) * 30


@pytest.mark.parametrize("top_k", [5, 60])
@pytest.mark.parametrize("is_scaled", [False, True])
def test_function_gives_the_results_of_the_model(top_k, is_scaled, monkeypatch):
    monkeypatch.setattr(PanopticDeepLab, "_maps", smooth_maps)
    section = "MODEL.PANOPTIC_DEEPLAB"
    options = [f"{section}.STUFF_AREA", 200, f"{section}.TOP_K_INSTANCE", top_k]
    cfg = small_cfg(*options, f"{section}.SCALE_OFFSETS", is_scaled)
    model = build_model(cfg).eval()
    function = make_function(cfg, model, resize=False)
    file = ExportedModel(InMemory(function, describe(cfg, function, "onnx")))
    batch = images_of([(64, 96), (70, 50)])
    with torch.no_grad():
        expected = model(batch)
    for ours, theirs in zip(expected, file(batch), strict=True):
        assert ours.keys() == theirs.keys()
        assert len(ours["instances"]) == len(theirs["instances"]) > 1
        difference = compare_results(ours, theirs, 0.0)
        assert not difference.faults(Tolerance(1e-4, 1e-4, 1e-3, 1.0, 0.999), 96), difference
        (labels, _), (numbers, segments) = ours["panoptic_seg"], theirs["panoptic_seg"]
        category = {0: -1, **{one["id"]: one["category_id"] for one in segments}}
        found = torch.tensor([category[number] for number in numbers.flatten().tolist()])
        classes = torch.div(labels, model.label_divisor, rounding_mode="floor").flatten()
        assert (found == classes).float().mean() > 0.999
        assert len(classes.unique()) > 2
        things = {one["category_id"] for one in segments if one["isthing"]}
        assert things == {int(number) for number in ours["instances"].pred_classes}
