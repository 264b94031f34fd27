"""Dense detectors small enough to run in milliseconds, and MMDetection's names of their weights."""

import re
import zlib

import numpy as np
import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.structures import Boxes, Instances

from ..runs import SHORT_RUN

NUM_CLASSES = 3
SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.FPN.OUT_CHANNELS", 32,
]  # fmt: skip
RECIPES = {
    "ATSS": "atss_R_50_FPN_1x.yaml",
    "GFL": "gfl_R_50_FPN_1x.yaml",
    "VFNet": "vfnet_R_50_FPN_1x.yaml",
    "FSAF": "fsaf_R_50_FPN_1x.yaml",
    "SABLRetinaNet": "sabl_retinanet_R_50_FPN_1x.yaml",
    "ScaledFCOS": "scaled_fcos_R_50_FPN_gn_1x.yaml",
}


def small_cfg(kind: str, *opts) -> CfgNode:
    """A published recipe with few channels and three classes."""
    return setup_cfg(RECIPES[kind], [*SMALL, "MODEL.DENSE.NUM_CLASSES", NUM_CLASSES, *opts])


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input."""
    rng = np.random.RandomState(seed)
    first = rng.rand(num_objects, 2) * [width * 0.6, height * 0.6]
    boxes = np.concatenate([first, first + 8 + rng.rand(num_objects, 2) * width * 0.3], axis=1)
    truth = Instances(
        (height, width),
        gt_boxes=Boxes(torch.from_numpy(boxes).float().reshape(-1, 4)),
        gt_classes=torch.from_numpy(rng.randint(0, NUM_CLASSES, num_objects)),
    )
    pixels = torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8))
    return {"image": pixels, "height": height, "width": width, "instances": truth}


_BLOCK = r"backbone\.bottom_up\.res(\d)\.(\d)"
_PREFIX = {
    "ATSS": "atss",
    "GFL": "gfl",
    "VFNet": "vfnet",
    "FSAF": "retina",
    "SABLRetinaNet": "retina",
    "ScaledFCOS": "conv",
}


def their_name(kind: str, name: str) -> str:
    """MMDetection's name of one of our weights."""
    for ours, theirs in (
        (r"backbone\.bottom_up\.stem\.conv1\.norm", "backbone.bn1"),
        (r"backbone\.bottom_up\.stem", "backbone"),
        (rf"{_BLOCK}\.shortcut\.norm", r"backbone.layer<\1>.\2.downsample.1"),
        (rf"{_BLOCK}\.shortcut", r"backbone.layer<\1>.\2.downsample.0"),
        (rf"{_BLOCK}\.conv(\d)\.norm", r"backbone.layer<\1>.\2.bn\3"),
        (_BLOCK, r"backbone.layer<\1>.\2"),
        (r"backbone\.fpn_lateral3", "neck.lateral_convs.0.conv"),
        (r"backbone\.fpn_lateral4", "neck.lateral_convs.1.conv"),
        (r"backbone\.fpn_lateral5", "neck.lateral_convs.2.conv"),
        (r"backbone\.fpn_output3", "neck.fpn_convs.0.conv"),
        (r"backbone\.fpn_output4", "neck.fpn_convs.1.conv"),
        (r"backbone\.fpn_output5", "neck.fpn_convs.2.conv"),
        (r"backbone\.top_block\.p6", "neck.fpn_convs.3.conv"),
        (r"backbone\.top_block\.p7", "neck.fpn_convs.4.conv"),
        (r"head\.cls_tower\.(\d)\.norm", r"bbox_head.cls_convs.\1.gn"),
        (r"head\.cls_tower\.(\d)", r"bbox_head.cls_convs.\1.conv"),
        (r"head\.box_tower\.(\d)\.norm", r"bbox_head.reg_convs.\1.gn"),
        (r"head\.box_tower\.(\d)", r"bbox_head.reg_convs.\1.conv"),
        *(
            (rf"head\.{ours}_subnet\.{2 * i}", f"bbox_head.{theirs}_convs.{i}.conv")
            for ours, theirs in (("cls", "cls"), ("bbox", "reg"))
            for i in range(4)
        ),
        (r"head\.box_conv\.0\.norm", "bbox_head.vfnet_reg_conv.gn"),
        (r"head\.box_conv\.0", "bbox_head.vfnet_reg_conv.conv"),
        (r"head\.box_star", "bbox_head.vfnet_reg_refine_dconv"),
        (r"head\.box_refine", "bbox_head.vfnet_reg_refine"),
        (r"head\.cls_star", "bbox_head.vfnet_cls_dconv"),
        (r"head\.cls_score", f"bbox_head.{_PREFIX[kind]}_cls"),
        (r"head\.(?:box|bbox)_pred", f"bbox_head.{_PREFIX[kind]}_reg"),
        (r"head\.bucket_score", "bbox_head.retina_bbox_cls"),
        (r"head\.bucket_offset", "bbox_head.retina_bbox_reg"),
        (r"head\.centerness", f"bbox_head.{_PREFIX[kind]}_centerness"),
        (r"head\.scales\.(\d)", r"bbox_head.scales.\1.scale"),
        (r"head\.refine_scales\.(\d)", r"bbox_head.scales_refine.\1.scale"),
    ):  # fmt: skip
        found = re.match(rf"{ours}(?=\.|$)", name)
        if found:
            renamed = found.expand(theirs) + name[found.end() :]
            return re.sub(r"<(\d)>", lambda level: str(int(level[1]) - 1), renamed)
    raise ValueError(name)


def drawn(name: str, shape: torch.Size) -> torch.Tensor:
    """A value for a weight that follows from its name in MMDetection alone."""
    values = np.asarray(np.random.RandomState(zlib.crc32(name.encode())).randn(*shape))
    if name.endswith(".scale"):
        values = 1 + 0.1 * values
    elif name.endswith("running_var"):
        values = 1 + 0.5 * values**2
    elif len(shape) > 1:
        share = 0.3 if "reg" in name or "refine" in name else 1.0
        values = values * (share / np.prod(shape[1:])) ** 0.5
    elif re.search(r"(bn|gn|norm).*weight$", name):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return torch.from_numpy(np.asarray(values)).float()


# Further keys of a whole run whose steps take some 50 ms.
TINY = [
    *SMALL,
    "MODEL.RESNETS.NORM", "FrozenBN",
    "MODEL.FPN.NORM", "",
    *SHORT_RUN,
]  # fmt: skip
