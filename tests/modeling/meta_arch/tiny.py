"""Small models and batches for the tests of this folder."""

import torch

from d2lite.config import get_cfg
from d2lite.structures import Boxes, Instances


def base_config(architecture):
    """A ResNet-18 with a pyramid of 16 channels; everything trainable."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.PIXEL_STD = [57.4, 57.1, 58.4]
    return cfg


def rcnn_config(architecture="GeneralizedRCNN"):
    """Faster R-CNN, or its first half."""
    cfg = base_config(architecture)
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 100
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    return cfg


def retinanet_config():
    """RetinaNet of one convolution a tower."""
    cfg = base_config("RetinaNet")
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256]]
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    # Untrained scores lie at the prior; let some of them pass.
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.01
    return cfg


def item(height, width, boxes, seed=0):
    """One element of a batch; classes 0, 1, 2, 0, ..."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    truth = Instances((height, width))
    truth.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    truth.gt_classes = torch.arange(len(boxes)) % 3
    return {"image": image, "instances": truth, "height": 2 * height, "width": 2 * width}


def batch():
    """Two images of different size, three objects."""
    return [
        item(64, 96, [[10, 10, 40, 40], [50, 5, 90, 60]], 1),
        item(96, 80, [[20, 30, 60, 80]], 2),
    ]


def empty_batch():
    """Two images without objects."""
    return [item(64, 96, [], 1), item(96, 80, [], 2)]
