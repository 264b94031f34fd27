"""What the new baselines share: Mask R-CNN from scratch, large scale jitter, long schedules."""

from functools import partial

from d2lite.config import LazyCall as L
from d2lite.layers import NaiveSyncBatchNorm
from d2lite.modeling.backbone import RegNet
from d2lite.modeling.backbone.regnet import ResBottleneckBlock, SimpleStem

from ..common.coco_schedule import epochs as schedule
from ..common.data.coco import jittered_loaders
from ..common.models.parts import box_head, fpn, mask_rcnn_fpn, resnet
from ..common.optim import SGD
from ..common.train import train

# Heads see other numbers of boxes in each process: statistics weigh them by number.
HEAD_NORM = partial(NaiveSyncBatchNorm, stats_mode="N")


def baseline(count, bottom_up=None):
    """The parts of a run of `count` epochs: dataloader, lr_multiplier, model, optimizer, train."""
    model = mask_rcnn_fpn()
    model.backbone = fpn(bottom_up or from_scratch(50), norm="SyncBN")
    model.proposal_generator.head.conv_dims = [-1, -1]
    model.roi_heads.box_head = box_head(convs=4, fcs=1, conv_norm=HEAD_NORM)
    model.roi_heads.mask_head.conv_norm = HEAD_NORM
    train.amp.enabled = train.ddp.fp16_compression = True
    train.max_iter, lr_multiplier = schedule(count, warmup=(500, 100), warmup_factor=0.067)
    SGD.update(lr=0.1, weight_decay=4e-5)
    if bottom_up is not None and bottom_up._target_ is RegNet:
        model.pixel_std = [57.375, 57.12, 58.395]
        train.cudnn_benchmark = True
    return jittered_loaders(), lr_multiplier, model, SGD, train


def from_scratch(depth):
    """A ResNet that is trained from its first layer on."""
    bottom_up = resnet(depth, out_features=["res2", "res3", "res4", "res5"], norm="SyncBN")
    bottom_up.freeze_at = 0
    return bottom_up


def regnet(**widths):
    """A RegNet of four billion operations (dds)."""
    return L(RegNet)(
        stem_class=SimpleStem,
        stem_width=32,
        block_class=ResBottleneckBlock,
        **widths,
        norm="SyncBN",
        out_features=["s1", "s2", "s3", "s4"],
    )


def regnetx_4gf():
    """RegNetX-4GF."""
    return regnet(depth=23, w_a=38.65, w_0=96, w_m=2.43, group_width=40)


def regnety_4gf():
    """RegNetY-4GF, with squeeze and excitation."""
    return regnet(depth=22, w_a=31.41, w_0=96, w_m=2.24, group_width=64, se_ratio=0.25)
