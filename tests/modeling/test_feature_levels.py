"""A feature level that the backbone does not have is named with its key and the known levels."""

import pytest

from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("GeneralizedRCNN", "MODEL.RPN.IN_FEATURES"),
        ("GeneralizedRCNN", "MODEL.ROI_HEADS.IN_FEATURES"),
        ("RetinaNet", "MODEL.RETINANET.IN_FEATURES"),
        ("FCOS", "MODEL.FCOS.IN_FEATURES"),
        ("SemanticSegmentor", "MODEL.SEM_SEG_HEAD.IN_FEATURES"),
        ("PanopticFPN", "MODEL.SEM_SEG_HEAD.IN_FEATURES"),
    ],
)
def test_level_that_is_not_there_is_refused(model, key):
    words = ["MODEL.META_ARCHITECTURE", model, key, "['p2', 'p9']", "MODEL.DEVICE", "cpu"]
    cfg = setup_cfg("quick_start.yaml", words)
    with pytest.raises(ConfigError, match=rf"{key} asks the backbone for the maps \['p9'\].*'p4'"):
        build_model(cfg)


@pytest.mark.parametrize("levels", ["[]", "['res2', 'res9']"])
def test_level_that_a_pyramid_cannot_be_made_of_is_refused(levels):
    cfg = setup_cfg("quick_start.yaml", ["MODEL.FPN.IN_FEATURES", levels])
    with pytest.raises(ConfigError, match=r"MODEL.FPN.IN_FEATURES asks ResNet .*'res4'"):
        build_model(cfg)


def test_level_that_points_cannot_be_sampled_from_is_refused():
    name = "pointrend_semantic_R_101_FPN_1x_cityscapes.yaml"
    cfg = setup_cfg(name, ["MODEL.POINT_HEAD.IN_FEATURES", "['p9']", "MODEL.DEVICE", "cpu"])
    with pytest.raises(ConfigError, match=r"MODEL.POINT_HEAD.IN_FEATURES asks .*\['p9'\].*'p4'"):
        build_model(cfg)
