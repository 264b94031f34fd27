"""What the configs of "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576) share."""

from d2lite import model_zoo
from d2lite.config import LazyConfig


def _carried(name, keys):
    return LazyConfig.load(model_zoo.get_config_file(f"common/{name}.py"), keys)


def head_with(norm):
    """All parts of a run whose heads are normalised by `norm`.

    Returns:
        dataloader, lr_multiplier, model, optimizer, train.
    """
    box_head, mask_rcnn = _carried("models/parts", ("box_head", "mask_rcnn_fpn"))
    model = mask_rcnn()
    model.backbone.bottom_up.freeze_at = 2
    model.roi_heads.box_head = box_head(convs=4, fcs=1, conv_norm=norm)
    model.roi_heads.mask_head.conv_norm = norm
    train = _carried("train", "train")
    train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    train.max_iter = 270_000
    schedule = _carried("coco_schedule", "lr_multiplier_3x")
    return _carried("data/coco", "dataloader"), schedule, model, _carried("optim", "SGD"), train
