"""Detectors that propose regions and examine them: GeneralizedRCNN, and its first half alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.structures import ImageList, Instances
from d2lite.utils.errors import ArgumentError, DataError, ExportError

from ..backbone import Backbone
from ..postprocessing import detector_postprocess
from ..proposal_generator import build_proposal_generator
from ..roi_heads import build_roi_heads
from ..training_visualization import log_boxes_and_truth, should_visualize
from .build import META_ARCH_REGISTRY
from .detector import Batch, Detector, common_arguments, output_sizes, postprocess_batch

__all__ = ["GeneralizedRCNN", "ProposalNetwork"]


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(Detector):
    """Features of the image, proposals, then heads on each: Faster and Mask R-CNN and the like.

    Args:
        backbone: images -> feature maps.
        proposal_generator: makes proposals; None to use the `proposals` of the batch.
        roi_heads: proposals -> detections and losses.
        pixel_mean: of each channel.
        pixel_std: of each channel.
        input_format: channel order of the images ("BGR", "RGB", "L", ...); needed for `vis_period`.
        vis_period: log an image of proposals every so many iterations; 0 for never.
    """

    predicts = frozenset({"instances"})
    compiled_parts = ("backbone", "proposal_generator.rpn_head")

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: Any,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period
        if vis_period > 0 and input_format is None:
            raise ArgumentError(
                "vis_period > 0 needs input_format, the channel order of the images."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL`, `INPUT.FORMAT` and `VIS_PERIOD`."""
        common = common_arguments(cfg)
        maps = common["backbone"].output_shape()
        return {
            **common,
            "proposal_generator": build_proposal_generator(cfg, maps),
            "roi_heads": build_roi_heads(cfg, maps),
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Losses of the proposal generator and of the heads, by name."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        features = self.backbone(images.tensor)
        proposal_losses, head_losses = self._instance_losses(
            batched_inputs, images, features, truth
        )
        return {**head_losses, **proposal_losses}

    def _instance_losses(
        self,
        batched_inputs: Batch,
        images: ImageList,
        features: dict[str, Tensor],
        truth: list[Instances],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of the proposal generator and of the heads; logs an image when one is due."""
        proposals, proposal_losses = self._propose(batched_inputs, images, features, truth)
        _, head_losses = self.roi_heads(images, features, proposals, truth)
        if should_visualize(self.vis_period):
            self.visualize_training(batched_inputs, proposals)
        return proposal_losses, head_losses

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"instances": detections} of each image, in pixels of `height` and `width`."""
        results: list[Any] = self.inference(batched_inputs)
        return results

    def inference(
        self,
        batched_inputs: Batch,
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Any]] | list[Instances]:
        """Detect, or examine boxes that are known already.

        Args:
            batched_inputs: see `Detector`.
            detected_instances: of each image, with `pred_boxes` and `pred_classes` in pixels of
                `image`; then only masks and keypoints are added.
            do_postprocess: bring results to the size that `height` and `width` ask for.

        Returns:
            {"instances": `Instances`} of each image, or `Instances` as the network sees the image
            without `do_postprocess`.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._propose(batched_inputs, images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            given = [instances.to(self.device) for instances in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        if not do_postprocess:
            return results
        return self._postprocess(results, batched_inputs, images.image_sizes)

    def _propose(
        self,
        batched_inputs: Batch,
        images: ImageList,
        features: dict[str, Tensor],
        truth: list[Instances] | None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, truth)
        if any("proposals" not in item for item in batched_inputs):
            raise DataError(
                "This model does not make proposals, and an image of the batch has none. Set "
                "MODEL.LOAD_PROPOSALS and DATASETS.PROPOSAL_FILES_TRAIN / _TEST, or use "
                "MODEL.PROPOSAL_GENERATOR.NAME RPN."
            )
        return [item["proposals"].to(self.device) for item in batched_inputs], {}

    _postprocess = staticmethod(postprocess_batch)

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`."""
        parts = (self.proposal_generator, self.roi_heads)
        missing = [type(part).__name__ for part in parts if not hasattr(part, "predict_padded")]
        if missing:
            raise ExportError(f"{' and '.join(missing)}: there is no fixed-size form.")
        return self._detect_padded(self.backbone(images), sizes)

    def _detect_padded(self, features: dict[str, Tensor], sizes: Tensor) -> dict[str, Tensor]:
        proposals, valid, _ = self.proposal_generator.predict_padded(features, sizes)  # type: ignore[union-attr, operator]
        return self.roi_heads.predict_padded(features, proposals, valid, sizes)

    def visualize_training(self, batched_inputs: Batch, proposals: Sequence[Instances]) -> None:
        """Log the ground truth and the best proposals of the first image.

        Args:
            batched_inputs: with the truth.
            proposals: of each image.
        """

        def best(count: int) -> np.ndarray:
            return proposals[0].proposal_boxes.tensor[:count].detach().cpu().numpy()

        log_boxes_and_truth(
            batched_inputs[0], best, self.input_format, "Left: truth; right: proposals"
        )


@META_ARCH_REGISTRY.register()
class ProposalNetwork(Detector):
    """The first half of `GeneralizedRCNN`: proposals are what it returns.

    Args:
        backbone: images -> feature maps.
        proposal_generator: features -> proposals and losses.
        pixel_mean: of each channel.
        pixel_std: of each channel.
    """

    compiled_parts = ("backbone", "proposal_generator.rpn_head")

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL`."""
        common = common_arguments(cfg)
        maps = common["backbone"].output_shape()
        return {**common, "proposal_generator": build_proposal_generator(cfg, maps)}

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Losses of the proposal generator, by name."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        _, losses = self.proposal_generator(images, self.backbone(images.tensor), truth)
        return losses

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"proposals": proposals} of each image, in pixels of `height` and `width`."""
        images = self.preprocess_image(batched_inputs)
        proposals, _ = self.proposal_generator(images, self.backbone(images.tensor), None)
        sizes = output_sizes(batched_inputs, images.image_sizes)
        return [
            {"proposals": detector_postprocess(found, *size)}
            for found, size in zip(proposals, sizes, strict=True)
        ]
