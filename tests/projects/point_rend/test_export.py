"""PointRend in its fixed-size form."""

import pytest
import torch
from torch import nn

from d2lite.export.exportable import export_fault
from d2lite.layers.point_sampling import get_uncertain_point_coords_on_grid
from d2lite.modeling import build_model
from d2lite.modeling.postprocessing import sem_seg_postprocess
from d2lite.structures import Boxes, Instances
from tests.modeling.small_detectors import fill, images_of

from .small import IMPLICIT, SEMANTIC, small_cfg

COARSE = ("MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", False)
SIZES = [(96, 128), (70, 50)]


def filled(*options):
    """A model whose predictions differ from place to place, and its config."""
    cfg = small_cfg("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96, *options)
    torch.manual_seed(0)
    return cfg, fill(build_model(cfg)).eval()


@pytest.mark.parametrize("options", [(), IMPLICIT, COARSE], ids=["points", "implicit", "coarse"])
def test_masks_of_the_fixed_size_form_are_the_ordinary_ones(options):
    cfg, model = filled(*options)
    assert export_fault(cfg) is None
    of_images = [[[8.0, 8, 60, 50], [0, 0, 96, 64]], [[5.0, 20, 30, 50]]]
    boxes = [Boxes(torch.tensor(rows)) for rows in of_images]
    classes = [torch.tensor([2, 0]), torch.tensor([1])]
    found = [
        Instances((64, 96), pred_boxes=own, pred_classes=labels)
        for own, labels in zip(boxes, classes, strict=True)
    ]
    rois = torch.cat([torch.tensor([[0.0], [0], [1]]), Boxes.cat(boxes).tensor], dim=1)
    head = model.roi_heads.mask_head
    first = head.coarse_head or head.parameter_head
    first.prediction.weight.data *= 100
    with torch.no_grad():
        features = model.backbone(torch.rand(2, 3, 64, 96))
        expected = torch.cat([one.pred_masks for one in head(features, found)])
        masks = head.predict_regions(features, rois, torch.cat(classes))["masks"]
    assert expected.std() > 0.01
    # A cell that is as unsure as another may be the one that is predicted again.
    assert ((masks - expected).abs() > 1e-3).float().mean() < 0.01


def test_maps_of_pixels_in_the_fixed_size_form_are_the_ordinary_ones():
    cfg, model = filled(*SEMANTIC)
    assert export_fault(cfg) is None
    batch = images_of(SIZES[:1])
    images = model.preprocess_image(batch)
    with torch.no_grad():
        (expected,) = model(batch)
        found = model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
    scores = sem_seg_postprocess(found["sem_seg"][0], SIZES[0], *SIZES[0])
    torch.testing.assert_close(scores, expected["sem_seg"], atol=1e-3, rtol=1e-3)


class _Places(nn.Module):
    def forward(self, maps):
        return get_uncertain_point_coords_on_grid(maps, 30)


def test_a_map_of_fewer_cells_than_points_is_looked_at_whole_in_a_graph():
    sides = ({2: torch.export.Dim("side", min=2, max=64)},)
    maps = torch.rand(1, 1, 9, 8)
    program = torch.export.export(_Places(), (maps,), dynamic_shapes=sides, strict=False)
    positions, points = program.module()(torch.rand(1, 1, 3, 8))
    assert positions.shape == (1, 30)
    assert set(positions[0].tolist()) == set(range(24))
    assert points.min() > 0
    assert points.max() < 1
