"""CellDetector: a score of each class and a box for every cell, of which the best are kept.

N images, R cells of all levels, C classes.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import SoftNMS

from ..backbone import Backbone
from ..dense_choice import DenseChoice, choice_arguments
from .detector import Batch, Detector, common_arguments, postprocess_batch


class CellDetector(Detector):
    """A detector that decodes all cells to boxes before it chooses.

    A subclass implements `compute_losses` and `_decoded`.

    Args:
        backbone: see `Detector`.
        head: maps -> predictions of each cell.
        num_classes: C.
        test_score_thresh: detections must score higher.
        test_topk_candidates: detections of each level that NMS is given.
        test_nms_thresh: IoU above which detections of a class suppress each other.
        max_detections_per_image: at most so many are returned.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
        pixel_mean: see `Detector`.
        pixel_std: likewise.
    """

    predicts = frozenset({"instances"})
    compiled_parts: tuple[str, ...] = ("backbone", "head")

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        num_classes: int,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        soft_nms: SoftNMS | None = None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.head: Any = head
        self.num_classes = num_classes
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.soft_nms = soft_nms

    @staticmethod
    def _arguments_from(cfg: CfgNode, node: CfgNode) -> dict[str, Any]:
        """The arguments of every such detector but `head`, from its own node of the config."""
        return {
            **common_arguments(cfg),
            "num_classes": node.NUM_CLASSES,
            **choice_arguments(cfg, node),
        }

    @property
    def _choice(self) -> DenseChoice:
        return DenseChoice(
            self.test_score_thresh,
            self.test_topk_candidates,
            self.test_nms_thresh,
            self.max_detections_per_image,
            self.soft_nms,
        )

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"instances": detections} of each image, in pixels of `height` and `width`."""
        images = self.preprocess_image(batched_inputs)
        decoded = self._decoded(images.tensor)
        return without_cells(self._detect(*decoded, batched_inputs, images.image_sizes))

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`."""
        found, _ = self._choice.detect_padded(*self._decoded(images), sizes)
        return found._asdict()

    def _decoded(self, images: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """(N, R, 4) boxes and (N, R, C) scores of normalised images, and the cells of each level.

        Boxes are xyxy in pixels of the network's input, scores in [0, 1].
        """
        raise NotImplementedError

    def _detect(
        self,
        boxes: Tensor,
        scores: Tensor,
        counts: Sequence[int],
        batched_inputs: Batch,
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[dict[str, Any]]:
        """{"instances": detections} in pixels of `height` and `width`, with the field `cell`.

        Args:
            boxes: see `_decoded`.
            scores: likewise.
            counts: likewise.
            batched_inputs: see `Detector`.
            image_sizes: (height, width) as the network saw each image, without padding.
        """
        found = [
            self._choice.detect(own, of_image, counts, size)
            for own, of_image, size in zip(boxes, scores, image_sizes, strict=True)
        ]
        return postprocess_batch(found, batched_inputs, image_sizes)


def without_cells(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results whose field `cell` nobody needs any more; changed in place."""
    for result in results:
        result["instances"].remove("cell")
    return results
