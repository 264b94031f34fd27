"""RetinaNet of ResNet-50 on COCO, 90,000 iterations."""

from ..common.models.retinanet import model
from ..common.one_times import one_times

dataloader, lr_multiplier, model, optimizer, train = one_times(model, rate=0.01)
