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
    ],
)
def test_level_that_is_not_there_is_refused(model, key):
    words = ["MODEL.META_ARCHITECTURE", model, key, "['p2', 'p9']", "MODEL.DEVICE", "cpu"]
    cfg = setup_cfg("quick_start.yaml", words)
    with pytest.raises(ConfigError, match=rf"{key} asks the backbone for the maps \['p9'\].*'p4'"):
        build_model(cfg)
