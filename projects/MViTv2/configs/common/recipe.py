"""What the configs of MViTv2 (arXiv:2112.01526) share."""

from functools import partial

from torch import nn

from d2lite import model_zoo
from d2lite.config import LazyCall as L
from d2lite.config import LazyConfig
from d2lite.layers import NaiveSyncBatchNorm
from d2lite.modeling.backbone import MViT

from .coco_loader import dataloader as resized
from .coco_loader_lsj import dataloader as jittered


def _carried(name, keys):
    return LazyConfig.load(model_zoo.get_config_file(f"common/{name}.py"), keys)


constants = _carried("data/constants", "constants")
_fpn, _make_cascade, _mask_rcnn, _pixels = _carried(
    "models/parts", ("fpn", "make_cascade", "mask_rcnn_fpn", "pixels")
)
_epochs, _three_times = _carried("coco_schedule", ("epochs", "three_times_in_batches_of_64"))

# Size: first width, blocks, heads of the first stage, last block of each stage, drop path.
SIZES = {
    "t": (96, 10, 1, (0, 2, 7, 9), 0.2),
    "s": (96, 16, 1, (0, 2, 13, 15), 0.2),
    "b": (96, 24, 1, (1, 4, 20, 23), 0.4),
    "l": (144, 48, 2, (1, 7, 43, 47), 0.5),
    "h": (192, 80, 3, (3, 11, 71, 79), 0.6),
}
# Heads see other numbers of boxes in each process: statistics weigh them by number.
_HEAD_NORM = partial(NaiveSyncBatchNorm, stats_mode="N")


def mvit(size):
    """The backbone."""
    width, depth, heads, last_blocks, drop_path = SIZES[size]
    return L(MViT)(
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        last_block_indexes=last_blocks,
        residual_pooling=True,
        drop_path_rate=drop_path,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        out_features=("scale2", "scale3", "scale4", "scale5"),
        # The largest does not fit into memory otherwise.
        **({"use_act_checkpoint": True} if size == "h" else {}),
    )


def detector(size, *, pretrained="in1k", epochs=36, jitter=False, cascade=True, rate=1.6e-4):
    """All parts of a run on COCO: dataloader, lr_multiplier, model, optimizer, train."""
    model = _mask_rcnn()
    model.backbone = _fpn(mvit(size))
    model.update(_pixels("RGB"), input_format="RGB")
    if cascade:
        _make_cascade(model, convs=4, fcs=1, conv_norm=_HEAD_NORM)
        model.proposal_generator.head.conv_dims = [-1, -1]
        model.roi_heads.mask_head.conv_norm = _HEAD_NORM

    optimizer = _carried("optim", "AdamW")
    optimizer.lr = rate
    for name in ("pos_embed", "rel_pos_h", "rel_pos_w"):
        optimizer.params.overrides[name] = {"weight_decay": 0.0}

    train = _carried("train", "train")
    train.amp.enabled = train.ddp.fp16_compression = True
    train.init_checkpoint = (
        f"detectron2://ImageNetPretrained/mvitv2/MViTv2_{size.upper()}_{pretrained}.pyth"
    )
    # 36 epochs are the three times schedule.
    train.max_iter, schedule = (
        _three_times() if epochs == 36 else _epochs(epochs, warmup=(250, epochs))
    )
    return jittered if jitter else resized, schedule, model, optimizer, train
