"""COCO in RGB, resized to many lengths; half of the images are cropped before."""

import d2lite.data.transforms as T
from d2lite import model_zoo
from d2lite.config import LazyCall as L
from d2lite.config import LazyConfig

dataloader, _resize_and_flip = LazyConfig.load(
    model_zoo.get_config_file("common/data/coco.py"), ("dataloader", "resize_and_flip")
)
_enlarge_a_crop = L(T.RandomApply)(
    tfm_or_aug=L(T.AugmentationList)(
        augs=[
            L(T.ResizeShortestEdge)(short_edge_length=[400, 500, 600], sample_style="choice"),
            L(T.RandomCrop)(crop_type="absolute_range", crop_size=(384, 600)),
        ]
    ),
    prob=0.5,
)
dataloader.train.mapper.augmentations = [
    _enlarge_a_crop,
    *_resize_and_flip(list(range(480, 801, 32))),
]
dataloader.train.mapper.image_format = "RGB"
dataloader.train.total_batch_size = 64
