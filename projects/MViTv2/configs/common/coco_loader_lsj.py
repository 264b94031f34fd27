"""COCO with large scale jitter at 1024 pixels, in RGB."""

from d2lite import model_zoo
from d2lite.config import LazyConfig

_jittered = LazyConfig.load(model_zoo.get_config_file("common/data/coco.py"), "jittered_loaders")

dataloader = _jittered(image_format="RGB", flip_first=True)
