"""CascadeROIHeads: a chain of box stages, each of which starts from the boxes of the one before."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ArgumentError, ConfigError
from d2lite.utils.events import get_event_storage, has_event_storage, log_scalars

from ..matcher import Matcher
from ..padded import clip_to_sizes, images_of_rows
from ..poolers import ROIPooler
from .build import ROI_HEADS_REGISTRY, build_mask_head
from .cascade_config import cascade_box_arguments
from .fast_rcnn import fast_rcnn_inference
from .label_proposals import attach_targets, classes_of_matches, match_boxes
from .stage_masks import StageMaskHeads, stage_foreground
from .standard import StandardROIHeads, build_pooler

__all__ = ["CascadeROIHeads"]


@ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(StandardROIHeads):
    """Cascade R-CNN: later stages are trained on better boxes, with higher IoU thresholds.

    Args:
        box_in_features: the maps of the box stages, by name.
        box_pooler: maps and boxes -> features of regions, for all stages.
        box_heads: one a stage.
        box_predictors: one a stage.
        proposal_matchers: one a stage; the first labels the proposals that are drawn.
        stage_loss_weights: factors on the losses of each stage; () for none, and then gradients of
            regions are divided by the number of stages.
        averages_logits: average the scores of stages before they become probabilities, not after.
        **kwargs: see `StandardROIHeads`, for masks and keypoints.

    Source: Cai 2018, arXiv:1712.00726.
    """

    mask_in_features: list[str]
    mask_pooler: ROIPooler
    mask_head: Any

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_heads: list[nn.Module],
        box_predictors: list[nn.Module],
        proposal_matchers: list[Matcher],
        stage_loss_weights: Sequence[float] = (),
        averages_logits: bool = False,
        **kwargs: Any,
    ) -> None:
        if "proposal_matcher" in kwargs:
            raise ArgumentError(
                "give proposal_matchers, one a stage; the first is proposal_matcher."
            )
        if not len(box_heads) == len(box_predictors) == len(proposal_matchers):
            raise ArgumentError(
                f"{len(box_heads)} heads, {len(box_predictors)} predictors and "
                f"{len(proposal_matchers)} matchers; each stage needs one of each."
            )
        if stage_loss_weights and len(stage_loss_weights) != len(box_heads):
            raise ConfigError(
                f"MODEL.ROI_BOX_CASCADE_HEAD.LOSS_WEIGHTS has {len(stage_loss_weights)} numbers; "
                f"give one for each of the {len(box_heads)} stages, or none."
            )
        super().__init__(
            box_in_features=box_in_features,
            box_pooler=box_pooler,
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            proposal_matcher=proposal_matchers[0],
            **kwargs,
        )
        self.num_cascade_stages = len(box_heads)
        self.proposal_matchers = proposal_matchers
        self.stage_loss_weights = tuple(stage_loss_weights)
        self.averages_logits = averages_logits

    @classmethod
    def from_config(  # type: ignore[override]  # these heads are made for given maps
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_BOX_CASCADE_HEAD` and those of `StandardROIHeads`."""
        arguments = super().from_config(cfg, input_shape)
        arguments.pop("proposal_matcher")
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        return cascade_box_arguments(cfg, input_shape)

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        cascade = cfg.MODEL.ROI_BOX_CASCADE_HEAD
        if not (cfg.MODEL.MASK_ON and cascade.MASK_HEADS):
            return super()._init_mask_head(cfg, input_shape)
        names, pooler, shape = build_pooler(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)
        heads = StageMaskHeads(build_mask_head(cfg, shape) for _ in cascade.IOUS)
        return {"mask_in_features": names, "mask_pooler": pooler, "mask_head": heads}

    def _box_losses(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> dict[str, Tensor]:
        return self._forward_box(features, proposals, targets)

    def _forward_box(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances] = (),
    ) -> Any:
        """Losses of all stages in training; else detections of each image."""
        maps = [features[name] for name in self.box_in_features]
        image_sizes = [p.image_size for p in proposals]
        losses: dict[str, Tensor] = {}
        boxes: Sequence[Tensor] = ()
        stage_scores, stage_probs = [], []
        for stage, predictor in enumerate(self.box_predictor):
            if stage:
                proposals = self._create_proposals_from_boxes(boxes, image_sizes)
                if self.training:
                    proposals = self._match_and_label_boxes(proposals, stage, targets)
            predictions = self._run_stage(maps, proposals, stage)
            if self.training:
                with _logged_as(stage):
                    stage_losses = predictor.losses(predictions, proposals)
                    if self._has_stage_masks:
                        masks = self._stage_mask_losses(features, proposals, targets, stage)
                        stage_losses |= masks
                weight = self.stage_loss_weights[stage] if self.stage_loss_weights else 1.0
                losses |= {f"{n}_stage{stage}": v * weight for n, v in stage_losses.items()}
            else:
                stage_scores.append(predictions[0])
                stage_probs.append(predictor.predict_probs(predictions, proposals))
            boxes = predictor.predict_boxes(predictions, proposals)
        if self.training:
            return losses
        # The last stage has the best boxes; classes are best averaged over all stages.
        last = self.box_predictor[-1]
        if self.averages_logits:
            mean = torch.stack(stage_scores).mean(dim=0)
            probs = last.predict_probs((mean, predictions[1]), proposals)
        else:
            probs = [
                torch.stack(of_image).mean(dim=0) for of_image in zip(*stage_probs, strict=True)
            ]
        detections, _ = fast_rcnn_inference(
            boxes,
            probs,
            image_sizes,
            last.test_score_thresh,
            last.test_nms_thresh,
            last.test_topk_per_image,
            soft_nms=last.soft_nms,
        )
        return detections

    def _padded_boxes(
        self, features: dict[str, Tensor], proposals: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        maps = [features[name] for name in self.box_in_features]
        count, all_scores, all_probs = proposals.shape[:2], [], []
        for head, predictor in zip(self.box_head, self.box_predictor, strict=True):
            proposals = clip_to_sizes(proposals, sizes)
            pooled = self.box_pooler.pool_rows(maps, images_of_rows(proposals))
            predictions, rows = predictor(head(pooled)), proposals.flatten(0, 1)
            boxes, probs = predictor.predict_rows(predictions, rows)
            proposals = boxes.reshape(*count, 4)
            all_scores.append(predictions[0])
            all_probs.append(probs)
        if self.averages_logits:
            mean = torch.stack(all_scores).mean(dim=0)
            _, probs = self._last_predictor.predict_rows((mean, predictions[1]), rows)
        else:
            probs = torch.stack(all_probs).mean(dim=0)
        return proposals, probs.reshape(*count, probs.shape[1])

    @property
    def _first_predictor(self) -> Any:
        return self.box_predictor[0]

    @property
    def _last_predictor(self) -> Any:
        return self.box_predictor[-1]

    def _predict_regions(self, maps: list[Tensor], proposals: list[Instances]) -> Any:
        return self._run_stage(maps, proposals, 0)

    def _run_stage(
        self, maps: list[Tensor], proposals: list[Instances], stage: int
    ) -> tuple[Tensor, Tensor]:
        pooled = self._pooled(self.box_pooler, maps, proposals)
        return self.box_predictor[stage](self.box_head[stage](pooled))

    def _pooled(
        self, pooler: ROIPooler, maps: list[Tensor], proposals: Sequence[Instances]
    ) -> Tensor:
        pooled = pooler(maps, [p.proposal_boxes for p in proposals])
        if pooled.requires_grad and not self.stage_loss_weights:
            # All stages train the backbone; together they should weigh as much as one head.
            pooled.register_hook(lambda gradient: gradient / self.num_cascade_stages)
        return pooled

    @property
    def _has_stage_masks(self) -> bool:
        return self.mask_on and isinstance(self.mask_head, StageMaskHeads)

    def _forward_mask(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        # Masks of stages were trained with their boxes.
        if self.training and self._has_stage_masks:
            return {}
        return super()._forward_mask(features, instances)

    def _stage_mask_losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances],
        stage: int,
    ) -> Any:
        """Losses of the mask head of one stage, on the objects among its boxes."""
        found = stage_foreground(
            proposals, targets, self.num_classes, self.proposal_matchers[stage]
        )
        maps = [features[name] for name in self.mask_in_features]
        pooled = self._pooled(self.mask_pooler, maps, found)
        return self.mask_head[stage](pooled, found)

    def _create_proposals_from_boxes(
        self, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """The boxes of one stage as proposals of the next; no gradient goes through them."""

        def clipped(of_image: Tensor, size: tuple[int, int]) -> Boxes:
            inside = Boxes(of_image.detach())
            inside.clip(size)
            # An empty box cannot be trained on. In inference every box has to stay, since the
            # scores of all stages are averaged row by row.
            return inside[inside.nonempty()] if self.training else inside

        return [
            Instances(size, proposal_boxes=clipped(of_image, size))
            for of_image, size in zip(boxes, image_sizes, strict=True)
        ]

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: Sequence[Instances]
    ) -> list[Instances]:
        """Label all boxes of a stage; none is drawn, as the first stage drew them."""
        counts = []
        for found, target in zip(proposals, targets, strict=True):
            matches, match_labels = match_boxes(
                found.proposal_boxes, target, self.proposal_matchers[stage]
            )
            classes = classes_of_matches(target.gt_classes, matches, match_labels, self.num_classes)
            found.gt_classes = classes
            # Of most boxes of later stages no mask is needed; see `_stage_mask_losses`.
            boxes_only = Instances(target.image_size, gt_boxes=target.gt_boxes)
            attach_targets(found, boxes_only, matches)
            counts.append((classes < self.num_classes).sum())
        num_fg = torch.stack(counts).sum() / len(counts)
        num_all = sum(len(found) for found in proposals) / len(counts)
        log_scalars(
            {
                f"stage{stage}/roi_head/num_fg_samples": num_fg,
                f"stage{stage}/roi_head/num_bg_samples": num_all - num_fg,
            }
        )
        return proposals


def _logged_as(stage: int) -> AbstractContextManager[Any]:
    """Inside, scalars are logged under "stage<n>/"."""
    return get_event_storage().name_scope(f"stage{stage}") if has_event_storage() else nullcontext()


class _ScaleGradient(torch.autograd.Function):
    """Passes a tensor on and multiplies its gradient; for cascades that people wrote."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None
