"""The samples that DeepLab trains on."""

from d2lite.config import CfgNode
from d2lite.data import DatasetMapper
from d2lite.data.augmenting import semantic_augmentations

_HEADS = ("DeepLabV3Head", "DeepLabV3PlusHead")


def build_train_mapper(cfg: CfgNode) -> DatasetMapper | None:
    """The mapper of a DeepLab model's training data; None for other models.

    Args:
        cfg: the whole config.
    """
    model = cfg.MODEL
    if model.META_ARCHITECTURE != "SemanticSegmentor" or model.SEM_SEG_HEAD.NAME not in _HEADS:
        return None
    return DatasetMapper(cfg, is_train=True, augmentations=semantic_augmentations(cfg))
