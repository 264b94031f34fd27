"""Every kind of model, small enough for a step of some 50 ms."""

from typing import NamedTuple

from tests.projects.deeplab.test_training import TINY as DEEPLAB
from tests.projects.dense.small import TINY as DENSE
from tests.projects.detr.small import KINDS as DETR_KINDS
from tests.projects.detr.small import TINY as DETR
from tests.projects.eomt.small import TINY as EOMT
from tests.projects.fcpose.small import TINY as FCPOSE
from tests.projects.mask2former.small import PANOPTIC as MASK2FORMER_PANOPTIC
from tests.projects.mask2former.small import SEMANTIC as MASK2FORMER_SEMANTIC
from tests.projects.mask2former.small import TINY as MASK2FORMER
from tests.projects.point_rend.test_project import IMPLICIT as POINT_REND_IMPLICIT
from tests.projects.point_rend.test_project import SEMANTIC as POINT_REND_SEMANTIC
from tests.projects.point_rend.test_project import TINY as POINT_REND
from tests.projects.rtdetr.small import TINY as RTDETR
from tests.projects.rtdetr.small import small_opts
from tests.projects.rtmdet.small import TINY as RTMDET
from tests.projects.solov2.test_training import TINY as SOLOV2
from tests.projects.ssd.test_model import TINY as SSD
from tests.projects.yolov3.small import TINY as YOLOV3
from tests.projects.yolox.small import TINY as YOLOX
from tests.tools.conftest import TINY
from tests.tools.test_train_net_models import KEYPOINTS, PANOPTIC, RETINANET


class Model(NamedTuple):
    """A recipe, and what makes it small; `learns` is "instances", "pixels" or "segments"."""

    recipe: str
    options: list[str]
    learns: str = "instances"


QUICK = "quick_start.yaml"
BOXES = ["MODEL.MASK_ON", "False"]
FEW_PROPOSALS = ["MODEL.RPN.POST_NMS_TOPK_TEST", "20", "MODEL.RPN.PRE_NMS_TOPK_TEST", "20"]
SMALL = [*TINY, *FEW_PROPOSALS]
FCOS = [
    "MODEL.META_ARCHITECTURE", "FCOS",
    "MODEL.FCOS.IN_FEATURES", "['p2', 'p3', 'p4']",
    "MODEL.FCOS.NUM_CONVS", "1",
    "MODEL.FCOS.NORM", "BN",
]  # fmt: skip
ROTATED = [
    "DATASETS.TRAIN", "('shapes_train',)",
    "DATASETS.TEST", "('shapes_val',)",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.DEPTH", "18",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN", "50",
]  # fmt: skip
SEGMENTS = [*PANOPTIC, "DATASETS.TEST", "('shapes_val_panoptic',)"]
SEMANTIC = [
    *SEGMENTS, "MODEL.META_ARCHITECTURE", "SemanticSegmentor", *BOXES,
    "DATASETS.TRAIN", "('shapes_train_sem_seg',)",
    "DATASETS.TEST", "('shapes_val_sem_seg',)",
]  # fmt: skip
SHAPES = ["DATASETS.TEST", "('shapes_val',)"]
DENSE_KINDS = ("ATSS", "GFL", "VFNet", "FSAF", "SABLRetinaNet")
RTDETR_FINE = [str(option) for option in small_opts("dfine")[2:]]

MODELS = {
    "Faster R-CNN": Model(QUICK, [*SMALL, *BOXES]),
    "Mask R-CNN": Model(QUICK, SMALL),
    "Cascade R-CNN": Model(
        QUICK,
        [
            *SMALL,
            *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
            *("MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS", "True"),
            *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
            *("MODEL.ROI_HEADS.IOU_THRESHOLDS", "[0.5]", "MODEL.ROI_HEADS.IOU_LABELS", "[0, 1]"),
        ],
    ),
    "Keypoint R-CNN": Model(QUICK, [*SMALL, *KEYPOINTS]),
    "Rotated Faster R-CNN": Model("rotated_faster_rcnn_R_50_FPN.yaml", [*SMALL, *ROTATED]),
    "RPN": Model(QUICK, [*SMALL, "MODEL.META_ARCHITECTURE", "ProposalNetwork", *BOXES]),
    # On maps of one cell torch 2.14 leaves parts of a gradient in bfloat16 unset, on a CPU.
    "RetinaNet": Model(QUICK, [*SMALL, *RETINANET, "INPUT.MIN_SIZE_TRAIN", "(128,)"]),
    "FCOS": Model(QUICK, [*SMALL, *BOXES, *FCOS]),
    "Panoptic FPN": Model(QUICK, [*SMALL, *SEGMENTS], "segments"),
    "Semantic FPN": Model(QUICK, [*SMALL, *SEMANTIC], "pixels"),
    "SOLOv2": Model("solov2_quick_start.yaml", SOLOV2),
    "PointRend": Model("pointrend_shapes.yaml", POINT_REND),
    "PointRend, implicit": Model("pointrend_shapes.yaml", [*POINT_REND, *POINT_REND_IMPLICIT]),
    "PointRend, semantic": Model(
        "pointrend_shapes.yaml", [*POINT_REND, *POINT_REND_SEMANTIC], "pixels"
    ),
    "DeepLabV3+": Model("deeplab_v3_plus_shapes.yaml", DEEPLAB, "pixels"),
    "Panoptic-DeepLab": Model("panoptic_deeplab_shapes.yaml", DEEPLAB, "segments"),
    "Mask2Former, instances": Model("mask2former_shapes.yaml", MASK2FORMER),
    "Mask2Former, panoptic": Model(
        "mask2former_shapes.yaml", [*MASK2FORMER, *MASK2FORMER_PANOPTIC], "segments"
    ),
    "Mask2Former, semantic": Model(
        "mask2former_shapes.yaml", [*MASK2FORMER, *MASK2FORMER_SEMANTIC], "pixels"
    ),
    "EoMT": Model("eomt_shapes.yaml", EOMT),
    **{
        name: Model(DETR_KINDS[kind][0], [*DETR, *DETR_KINDS[kind][1], *SHAPES])
        for name, kind in (("DETR", "detr"), ("Deformable DETR", "refined"), ("DINO", "dino"))
    },
    "RT-DETR": Model("rtdetr_quick_start.yaml", RTDETR),
    "RT-DETR with masks": Model("rtdetr_masks_quick_start.yaml", RTDETR),
    "D-FINE": Model("rtdetr_quick_start.yaml", [*RTDETR, *RTDETR_FINE]),
    "RTMDet": Model("rtmdet_quick_start.yaml", [*RTMDET, *BOXES]),
    "RTMDet-Ins": Model("rtmdet_quick_start.yaml", RTMDET),
    "SSD": Model("ssd300.yaml", [*SSD, *SHAPES]),
    "YOLOv3": Model("yolov3_quick_start.yaml", YOLOV3),
    "YOLOX": Model("yolox_quick_start.yaml", YOLOX),
    **{
        kind: Model("gfl_quick_start.yaml", [*DENSE, "MODEL.META_ARCHITECTURE", kind])
        for kind in DENSE_KINDS
    },
    "FCPose": Model("fcpose_shapes.yaml", [str(option) for option in FCPOSE]),
}
