"""The one times schedule from ImageNet's weights, with the first stages kept as they are."""

from .coco_schedule import lr_multiplier_1x
from .data.coco import dataloader as coco
from .optim import SGD
from .train import train


def one_times(model, dataloader=coco, *, rate=0.02):
    """All parts of a run: dataloader, lr_multiplier, model, optimizer, train."""
    backbone = model.backbone
    (backbone.bottom_up if "bottom_up" in backbone else backbone).freeze_at = 2
    train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    SGD.lr = rate
    return dataloader, lr_multiplier_1x, model, SGD, train
