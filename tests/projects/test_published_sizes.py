"""The recipes of the published sizes have the published numbers of parameters."""

import pytest
import torch

from d2lite.engine import setup_cfg
from d2lite.modeling import META_ARCH_REGISTRY

from .dense.small import RECIPES

# Of models that MMDetection 3.3.0 builds from its files.
YOLOX = {
    "yolox_nano": 912159,
    "yolox_tiny": 5055855,
    "yolox_s": 8968255,
    "yolox_m": 25326495,
    "yolox_l": 54208895,
    "yolox_x": 99071455,
}
RTMDET = {
    "rtmdet_tiny": 4.90e6,
    "rtmdet_s": 8.89e6,
    "rtmdet_m": 24.71e6,
    "rtmdet_l": 52.32e6,
    "rtmdet_x": 94.86e6,
    "rtmdet_ins_tiny": 5.64e6,
    "rtmdet_ins_s": 10.18e6,
    "rtmdet_ins_m": 27.58e6,
    "rtmdet_ins_l": 57.37e6,
    "rtmdet_ins_x": 102.7e6,
}
DENSE = {
    "ATSS": 32295322,
    "GFL": 32440537,
    "VFNet": 32891554,
    "FSAF": 36419732,
    "SABLRetinaNet": 36539592,
    "ScaledFCOS": 32295322,
}
# As published.
DETR = {
    "detr_r50": 41e6,
    "r50_deformable_detr": 40e6,
    "r50_deformable_detr_plus_iterative_bbox_refinement": 41e6,
    "r50_deformable_detr_plus_iterative_bbox_refinement_plus_plus_two_stage": 41e6,
    "dino_r50_4scale_12ep": 47e6,
}
# Batch norm that does not learn counts with weight and bias there.
LEARNING_NORM = ["MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0]
CASES = [
    *((f"{name}.yaml", count, 0, []) for name, count in YOLOX.items()),
    *(
        (f"{name}.yaml", count, 6e3, ["MODEL.CSPNEXT.NORM", "BN", "MODEL.RTMDET.NORM", "BN"])
        for name, count in RTMDET.items()
    ),
    *((RECIPES[kind], count, 0, LEARNING_NORM) for kind, count in DENSE.items()),
    *((f"{name}.yaml", count, 1e6, []) for name, count in DETR.items()),
]


@pytest.mark.parametrize(("recipe", "count", "tolerance", "opts"), CASES)
def test_each_recipe_has_the_published_number_of_parameters(recipe, count, tolerance, opts):
    cfg = setup_cfg(recipe, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *opts])
    # Without memory for its weights.
    with torch.device("meta"):
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    found = sum(value.numel() for value in model.parameters())
    assert found == pytest.approx(count, abs=tolerance, rel=0)
