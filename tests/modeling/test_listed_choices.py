"""Messages that list values or choices list the right ones."""

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.engine import setup_cfg
from d2lite.layers import CosineLinear, ShapeSpec
from d2lite.modeling import build_model
from d2lite.modeling.backbone import FeatureNetwork, build_backbone
from d2lite.modeling.backbone.fpn_additions import BalancedMaps
from d2lite.modeling.backbone.stacked_pyramid import BiFPN
from d2lite.modeling.meta_arch import RetinaNetHead
from d2lite.modeling.poolers import ROIPooler
from d2lite.modeling.roi_heads import CascadeROIHeads, StandardROIHeads
from d2lite.utils.errors import ConfigError


class Halved(nn.Module):
    """One map of half the size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x):
        return [self.conv(x)]


def test_a_stage_that_cannot_be_frozen_lists_the_maps():
    with pytest.raises(ConfigError, match=r"FREEZE_AT=4 .* the network's maps are \['res1'\]"):
        FeatureNetwork(Halved(), freeze_at=4)


def test_unknown_pooler_lists_the_known_ones():
    kinds = r"\['ROIAlign', 'ROIAlignV2', 'ROIAlignRotated', 'ROIPool'\]"
    with pytest.raises(ConfigError, match=rf"POOLER_TYPE='Max': use one of {kinds}"):
        ROIPooler(7, [0.25], 0, "Max")


def test_levels_that_cannot_share_a_retinanet_head_are_listed():
    levels = [ShapeSpec(channels=8), ShapeSpec(channels=4)]
    with pytest.raises(ConfigError, match=r"\[4, 8\] channels and \[1, 2\] anchors a cell"):
        RetinaNetHead(input_shape=levels, num_classes=1, num_anchors=[2, 1], conv_dims=[])


def test_maps_of_unequal_channels_are_listed_with_their_channels():
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3"]
    shapes = {"p2": ShapeSpec(channels=8, stride=4), "p3": ShapeSpec(channels=4, stride=8)}
    with pytest.raises(ValueError, match=r"\['p2', 'p3'\] have \[4, 8\] channels"):
        StandardROIHeads._init_box_head(cfg, shapes)


def test_a_cascade_whose_first_thresholds_differ_shows_both():
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS = [0.6]
    with pytest.raises(ConfigError, match=r"IOUS starts with 0.5, .*IOU_THRESHOLDS \[0.6\]"):
        CascadeROIHeads._init_box_head(cfg, {})


def test_numbers_with_which_a_part_would_do_nothing_or_harm_are_refused():
    with pytest.raises(ConfigError, match=r"COSINE_SCALE=-1.0: give a factor above 0"):
        CosineLinear(4, 2, -1.0)
    with pytest.raises(ConfigError, match=r"FPN\.BALANCE_LEVEL=-1: give a map's number"):
        BalancedMaps(4, level=-1)
    shape = ShapeSpec(channels=4, stride=8)
    with pytest.raises(ConfigError, match=r"FPN\.NUM_STAGES=0: give at least 1"):
        BiFPN(Halved(), ["p3"], [shape], 4, 1, 0)
    cfg = get_cfg()
    cfg.MODEL.RESNETS.PLUGIN, cfg.MODEL.RESNETS.PLUGIN_RATIO = "rfb", 0.0
    with pytest.raises(ConfigError, match=r"PLUGIN_RATIO=0.0: give a share above 0"):
        build_backbone(cfg)


@pytest.mark.parametrize(
    ("config", "key"),
    [("rtmdet_tiny.yaml", "MODEL.RTMDET.TOPK"), ("yolox_tiny.yaml", "MODEL.YOLOX.TOPK")],
)
def test_objects_that_no_cell_would_learn_are_refused(config, key):
    cfg = setup_cfg(config, ["MODEL.DEVICE", "cpu", key, "0"])
    with torch.device("meta"), pytest.raises(ConfigError, match=f"{key}=0: give at least 1"):
        build_model(cfg)
