"""What the configs of ViTDet (arXiv:2203.16527) share: backbones, cascade, COCO or LVIS."""

from functools import partial

from torch import nn

from d2lite import model_zoo
from d2lite.config import LazyCall as L
from d2lite.config import LazyConfig
from d2lite.data.detection_utils import get_fed_loss_cls_weights
from d2lite.data.samplers import RepeatFactorTrainingSampler
from d2lite.evaluation import LVISEvaluator
from d2lite.modeling.backbone import MViT, SwinTransformer
from d2lite.modeling.backbone.vit import get_vit_lr_decay_rate

from .coco_loader_lsj import dataloader


def _carried(name, keys):
    return LazyConfig.load(model_zoo.get_config_file(f"common/{name}.py"), keys)


_COCO_IMAGES, _LVIS_IMAGES, _epochs, _three_times = _carried(
    "coco_schedule", ("COCO_IMAGES", "LVIS_IMAGES", "epochs", "three_times_in_batches_of_64")
)
constants = _carried("data/constants", "constants")
_fpn, _make_cascade = _carried("models/parts", ("fpn", "make_cascade"))

# Size: width, blocks, heads, decay of the rate from block to block, published weights.
VIT = {
    "b": (768, 12, 12, 0.7, "base"),
    "l": (1024, 24, 16, 0.8, "large"),
    "h": (1280, 32, 16, 0.9, "huge_p14to16"),
}
# Size: first width, blocks, heads of the first stage, last block of each stage, drop path.
MVIT = {
    "b": (96, 24, 1, (1, 4, 20, 23), 0.4),
    "l": (144, 48, 2, (1, 7, 43, 47), 0.5),
    "h": (192, 80, 3, (3, 11, 71, 79), 0.6),
}
# Size: width, heads of each stage, name of the weights.
SWIN = {"b": (128, (4, 8, 16, 32), "base"), "l": (192, (6, 12, 24, 48), "large")}


def _parts():
    """Model, optimizer and run before a backbone is chosen."""
    model = _carried("models/mask_rcnn_vitdet", "model")
    train, optimizer = _carried("train", "train"), _carried("optim", "AdamW")
    train.amp.enabled = train.ddp.fp16_compression = True
    return model, optimizer, train


def vit(size, drop_path):
    """Model, optimizer and run of a plain vision transformer."""
    model, optimizer, train = _parts()
    width, depth, heads, decay, weights = VIT[size]
    model.backbone.net.update(
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        drop_path_rate=drop_path,
        # The last block of each quarter sees the whole image.
        window_block_indexes=[i for i in range(depth) if (i + 1) % (depth // 4)],
    )
    optimizer.params.lr_factor_func = partial(
        get_vit_lr_decay_rate, num_layers=depth, lr_decay_rate=decay
    )
    if size == "h":
        optimizer.params.weight_decay_norm = None
    else:
        optimizer.params.overrides = _without_decay("pos_embed")
    train.init_checkpoint = (
        f"detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_{weights}.pth"
        "?matching_heuristics=True"
    )
    return model, optimizer, train


def swin(size, drop_path):
    """Model, optimizer and run of a Swin transformer with an FPN."""
    model, optimizer, train = _parts()
    width, heads, weights = SWIN[size]
    bottom_up = L(SwinTransformer)(
        depths=[2, 2, 18, 2], drop_path_rate=drop_path, embed_dim=width, num_heads=heads
    )
    model.backbone = _fpn(bottom_up, square_pad=1024, norm="LN")
    model.backbone.in_features = ("p0", "p1", "p2", "p3")
    optimizer.weight_decay = 0.05
    optimizer.params.overrides = _without_decay("relative_position_bias_table")
    train.init_checkpoint = (
        f"detectron2://ImageNetPretrained/swin/swin_{weights}_patch4_window7_224_22k.pth"
    )
    return model, optimizer, train


def mvit(size):
    """Model, optimizer and run of an MViTv2 with an FPN."""
    model, optimizer, train = _parts()
    width, depth, heads, last_blocks, drop_path = MVIT[size]
    bottom_up = L(MViT)(
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
    model.backbone = _fpn(bottom_up, square_pad=1024, norm="LN")
    optimizer.params.overrides = _without_decay("pos_embed")
    train.init_checkpoint = (
        f"detectron2://ImageNetPretrained/mvitv2/MViTv2_{size.upper()}_in21k.pyth"
    )
    return model, optimizer, train


def _without_decay(*names):
    return {name: {"weight_decay": 0.0} for name in names}


def on_coco(parts, epochs, *, rate=1e-4, cascade=True):
    """All parts of a run on COCO: dataloader, lr_multiplier, model, optimizer, train."""
    model, optimizer, train = parts
    train.max_iter, schedule = (
        # The published 36 epochs are the three times schedule.
        _three_times() if epochs == 36 else _epochs(epochs, warmup=(250, 100))
    )
    optimizer.lr = rate
    if cascade:
        _make_cascade(model, convs=4, fcs=1, conv_norm="LN")
    return dataloader, schedule, model, optimizer, train


def on_lvis(parts, epochs, *, rate, cascade=True):
    """All parts of a run on LVIS v1, which balances its classes in the data and in the loss."""
    model, optimizer, train = parts
    optimizer.lr = rate
    train.eval_period = 30000
    train.max_iter, schedule = _epochs(epochs, warmup=(250, epochs), images=_LVIS_IMAGES)
    if cascade:
        _make_cascade(model, convs=4, fcs=1, conv_norm="LN")
    heads = model.roi_heads
    heads.num_classes = 1203
    for predictor in heads.box_predictors if cascade else [heads.box_predictor]:
        predictor.update(
            test_score_thresh=0.02,
            test_topk_per_image=300,
            use_sigmoid_ce=True,
            use_fed_loss=True,
            get_fed_loss_cls_weights=partial(
                get_fed_loss_cls_weights, dataset_names="lvis_v1_train", freq_weight_power=0.5
            ),
        )
    return _lvis_loaders(), schedule, model, optimizer, train


def _lvis_loaders():
    """The loaders with the sets of LVIS v1; images of rare classes come more often."""
    dataloader.train.dataset.names = "lvis_v1_train"
    dataloader.train.sampler = L(RepeatFactorTrainingSampler)(
        repeat_factors=L(RepeatFactorTrainingSampler.repeat_factors_from_category_frequency)(
            dataset_dicts="${dataloader.train.dataset}", repeat_thresh=0.001
        )
    )
    dataloader.test.dataset.names = "lvis_v1_val"
    dataloader.evaluator = L(LVISEvaluator)(
        dataset_name="${..test.dataset.names}", max_dets_per_image=300
    )
    return dataloader
