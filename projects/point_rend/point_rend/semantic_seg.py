"""PointRend as a semantic head: coarse scores, then predictions at points.

N images, K classes, H x W pixels of the padded network input, s the stride of the coarse scores.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.data import DatasetMapper
from d2lite.data.augmenting import semantic_augmentations
from d2lite.layers import ShapeSpec
from d2lite.layers.point_sampling import (
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    points_of_images,
    put_at_cells,
)
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.modeling.meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY
from d2lite.utils.errors import ArgumentError
from d2lite.utils.process_means import mean_weight

from .point_head import build_point_head, follow_num_classes

# Tells these draws about an image from others; see `image_generator`.
_POINTS = 4


def calculate_uncertainty(sem_seg_logits: Tensor) -> Tensor:
    """How near the two best classes are to each other.

    Args:
        sem_seg_logits: (N, K, ...).

    Returns:
        (N, 1, ...), 0 at most.
    """
    best, second = sem_seg_logits.topk(2, dim=1).values.split(1, dim=1)
    return second - best


@SEM_SEG_HEADS_REGISTRY.register()
class PointRendSemSegHead(nn.Module):
    """Another semantic head's scores, refined where they are unsure.

    Args:
        coarse_sem_seg_head: a head with `layers`, `losses` and `ignore_value`, such as
            `SemSegFPNHead`.
        point_head: fine features and coarse scores at points -> scores.
        in_features: the maps that the fine features come from.
        train_num_points: points of each image in training.
        oversample_ratio: see `get_uncertain_point_coords_with_randomness`.
        importance_sample_ratio: likewise.
        subdivision_steps: how often the side of the scores is doubled at inference; as often as
            the coarse stride needs.
        subdivision_num_points: how many cells are predicted again each time.

    Source: Kirillov 2019, arXiv:1912.08193, section 5.
    """

    @configurable
    def __init__(
        self,
        *,
        coarse_sem_seg_head: nn.Module,
        point_head: nn.Module,
        in_features: list[str],
        train_num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        subdivision_steps: int,
        subdivision_num_points: int,
    ) -> None:
        super().__init__()
        self.ignore_value = coarse_sem_seg_head.ignore_value
        self.coarse_sem_seg_head = coarse_sem_seg_head
        self.point_head = point_head
        self.in_features = in_features
        self.train_num_points = train_num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.subdivision_steps = subdivision_steps
        self.subdivision_num_points = subdivision_num_points

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.POINT_HEAD`, and the coarse head that it names."""
        node = cfg.MODEL.POINT_HEAD
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        follow_num_classes(cfg, num_classes, "MODEL.SEM_SEG_HEAD.NUM_CLASSES")
        coarse = SEM_SEG_HEADS_REGISTRY.get(node.COARSE_SEM_SEG_HEAD_NAME)
        check_maps(
            "the backbone", node.IN_FEATURES, list(input_shape), "MODEL.POINT_HEAD.IN_FEATURES"
        )
        channels = sum(input_shape[name].channels for name in node.IN_FEATURES)
        return {
            "coarse_sem_seg_head": coarse(cfg, input_shape),
            "point_head": build_point_head(cfg, ShapeSpec(channels=channels, height=1, width=1)),
            "in_features": list(node.IN_FEATURES),
            "train_num_points": node.TRAIN_NUM_POINTS,
            "oversample_ratio": node.OVERSAMPLE_RATIO,
            "importance_sample_ratio": node.IMPORTANCE_SAMPLE_RATIO,
            "subdivision_steps": node.SUBDIVISION_STEPS,
            "subdivision_num_points": node.SUBDIVISION_NUM_POINTS,
        }

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Score the classes of each pixel, or compare with the truth in training.

        Args:
            features: maps by name.
            targets: (N, H, W) int64 labels; needed in training.

        Returns:
            in training None and the losses (those of the coarse head and `loss_sem_seg_point`);
            otherwise (N, K, H, W) scores (the side is that of the coarse scores, doubled
            `subdivision_steps` times) and {}.

        Raises:
            ArgumentError: in training without targets.
        """
        coarse = self.coarse_sem_seg_head.layers(features)
        if not self.training:
            return self._refine(features, coarse), {}
        if targets is None:
            raise ArgumentError("In training the semantic head needs targets, the maps of labels.")
        losses = self.coarse_sem_seg_head.losses(coarse, targets)
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                coarse,
                calculate_uncertainty,
                self.train_num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
                draw=points_of_images([1] * len(coarse), _POINTS, coarse.device),
            )
            labels = targets[:, None].float()
            truth = point_sample(labels, points, mode="nearest", align_corners=False)[:, 0].long()
        scores = self._at_points(features, coarse, points).float()
        return None, {**losses, "loss_sem_seg_point": self._point_loss(scores, truth)}

    def _point_loss(self, scores: Tensor, truth: Tensor) -> Tensor:
        """Mean cross entropy of (N, K, P) scores over the labelled points; 0 if there is none."""
        total = F.cross_entropy(scores, truth, ignore_index=self.ignore_value, reduction="sum")
        count = (truth != self.ignore_value).sum()
        return total / count.clamp(min=1) * mean_weight(count, total)

    def _at_points(self, features: dict[str, Tensor], coarse: Tensor, points: Tensor) -> Tensor:
        """(N, K, P) scores at (N, P, 2) points."""
        fine = [
            point_sample(features[name], points, align_corners=False) for name in self.in_features
        ]
        return self.point_head(
            torch.cat(fine, dim=1), point_sample(coarse, points, align_corners=False)
        )

    def _refine(self, features: dict[str, Tensor], coarse: Tensor) -> Tensor:
        scores = coarse
        for _ in range(self.subdivision_steps):
            scores = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
            cells, points = get_uncertain_point_coords_on_grid(
                calculate_uncertainty(scores), self.subdivision_num_points
            )
            scores = put_at_cells(scores, cells, self._at_points(features, coarse, points))
        return scores


def build_train_mapper(cfg: CfgNode) -> DatasetMapper | None:
    """The mapper of semantic PointRend's training data; None for other models.

    Args:
        cfg: the whole config.
    """
    model = cfg.MODEL
    head = model.SEM_SEG_HEAD.NAME
    if model.META_ARCHITECTURE != "SemanticSegmentor" or head != "PointRendSemSegHead":
        return None
    return DatasetMapper(cfg, is_train=True, augmentations=semantic_augmentations(cfg))
