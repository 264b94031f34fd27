"""MaskFormer: the model, from images to losses and results.

N images, Q queries, K classes.
"""

from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.data import MetadataCatalog
from d2lite.modeling import META_ARCH_REGISTRY, Backbone, build_sem_seg_head
from d2lite.modeling.meta_arch.mask_queries import MaskQueries, mask_query_arguments

from .config import follow_own_defaults


@META_ARCH_REGISTRY.register()
class MaskFormer(MaskQueries):
    """Classes and masks of queries: instance, panoptic and semantic segmentation by one model.

    Args:
        backbone: see `Detector`.
        sem_seg_head: see `MaskFormerHead`.
        num_queries: Q.
        size_divisibility: sides of the network's input are multiples of this; what the backbone
            needs if negative.
        **others: see `MaskQueries`.

    Source: Cheng 2022, arXiv:2112.01527.
    """

    section = "MASK_FORMER"

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        num_queries: int,
        size_divisibility: int,
        **others: Any,
    ) -> None:
        super().__init__(backbone=backbone, **others)
        self.sem_seg_head = sem_seg_head
        self.num_queries = num_queries
        self.size_divisibility = (
            size_divisibility if size_divisibility >= 0 else backbone.size_divisibility
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `TEST`, and the metadata of the training set."""
        follow_own_defaults(cfg, "SOLVER.OPTIMIZER")
        node = cfg.MODEL.MASK_FORMER
        num_aux = node.DEC_LAYERS - 1 if node.DEEP_SUPERVISION else 0
        names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
        metadata = MetadataCatalog.get(names[0]) if names else None
        common = mask_query_arguments(cfg, node, num_aux, metadata)
        final = node.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE
        return {
            **common,
            "sem_seg_head": build_sem_seg_head(cfg, common["backbone"].output_shape()),
            "num_queries": node.NUM_OBJECT_QUERIES,
            "size_divisibility": node.SIZE_DIVISIBILITY,
            "sem_seg_postprocess_before_inference": (
                final or common["sem_seg_postprocess_before_inference"]
            ),
        }

    def predict_queries(self, images: Tensor) -> dict[str, Any]:
        """See `MaskQueries.predict_queries`."""
        outputs: dict[str, Any] = self.sem_seg_head(self.backbone(images))
        return outputs
