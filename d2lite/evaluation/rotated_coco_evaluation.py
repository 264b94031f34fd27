"""RotatedCOCOEvaluator: COCO's average precision of rotated boxes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import cocoeval

from d2lite.data.rotated_boxes import rotated_box
from d2lite.structures import BoxMode, Instances, RotatedBoxes, pairwise_iou_rotated
from d2lite.utils.errors import DataError

from .coco_evaluation import COCOEvaluator

__all__ = ["RotatedCOCOEvaluator", "RotatedCOCOeval"]

_BOX_SIZES = (4, 5)


class RotatedCOCOeval(cocoeval.COCOeval):  # type: ignore[misc]  # pycocotools ships no types
    """pycocotools' evaluation of boxes, with the overlap of rotated ones.

    Boxes have five numbers (centre x, centre y, width, height, degrees) or COCO's four (x, y,
    width, height); both kinds can be compared.
    """

    @staticmethod
    def is_rotated(box_list: Sequence[Sequence[float]] | np.ndarray) -> bool:
        """Whether the boxes, of which there is one or more, have five numbers each."""
        return len(box_list) > 0 and all(len(box) == 5 for box in box_list)

    @staticmethod
    def boxlist_to_tensor(
        boxlist: Sequence[Sequence[float]] | np.ndarray, output_box_dim: int
    ) -> torch.Tensor:
        """Bring boxes of either kind into one tensor.

        Args:
            boxlist: N boxes.
            output_box_dim: 5 for rotated boxes, where upright ones get the angle 0; 4 for COCO's,
                where no box may be rotated.

        Returns:
            (N, output_box_dim) float32.

        Raises:
            DataError: for a box of another length, or a rotated one where 4 numbers are asked for.
        """
        lengths = {len(box) for box in boxlist}
        if not lengths <= {*_BOX_SIZES[: output_box_dim - 3]}:
            raise DataError(
                f"boxes have {sorted(lengths)} numbers; as boxes of {output_box_dim} they need "
                f"{' or '.join(map(str, _BOX_SIZES[: output_box_dim - 3]))}."
            )
        rows = [[float(value) for value in box] for box in boxlist]
        if output_box_dim == 5:
            rows = [row if len(row) == 5 else _upright(*row) for row in rows]
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, output_box_dim)

    def compute_iou_dt_gt(
        self,
        dt: Sequence[Sequence[float]],
        gt: Sequence[Sequence[float]],
        is_crowd: Sequence[int],
    ) -> np.ndarray:
        """Overlap of each detection with each object.

        Args:
            dt: D boxes.
            gt: G boxes.
            is_crowd: G flags; the overlap with a crowd is the share of the detection inside it.

        Returns:
            (D, G) float64 in [0, 1].
        """
        first, second = self.boxlist_to_tensor(dt, 5), self.boxlist_to_tensor(gt, 5)
        iou = pairwise_iou_rotated(RotatedBoxes(first), RotatedBoxes(second)).double()
        area, other_area = (boxes[:, 2].double() * boxes[:, 3] for boxes in (first, second))
        common = iou * (area[:, None] + other_area) / (1 + iou)
        share = (common / area[:, None].clamp(min=1e-12)).clamp(max=1)
        crowd = torch.as_tensor(list(is_crowd), dtype=torch.bool)
        return np.asarray(torch.where(crowd, share, iou))

    # The name and its capitals are those of pycocotools, which calls it.
    def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: N802, N803
        """Overlap of the detections of one image and category, best score first, with its objects.

        Args:
            imgId: of the image.
            catId: of the category.

        Returns:
            (D, G) float64, or [] where there are neither.
        """
        objects, detections = self._gts[imgId, catId], self._dts[imgId, catId]
        if not objects and not detections:
            return []
        order = np.argsort([-detection["score"] for detection in detections], kind="mergesort")
        best = [detections[i] for i in order[: self.params.maxDets[-1]]]
        return self.compute_iou_dt_gt(
            [detection["bbox"] for detection in best],
            [obj["bbox"] for obj in objects],
            [int(obj.get("iscrowd", 0)) for obj in objects],
        )


def _upright(x: float, y: float, width: float, height: float) -> list[float]:
    return [x + width / 2, y + height / 2, width, height, 0.0]


class RotatedCOCOEvaluator(COCOEvaluator):
    """Rotated boxes by COCO's average precision; masks and keypoints are not scored.

    The truth has boxes of five numbers (BoxMode.XYWHA_ABS), in the dataset dicts or as "bbox" of
    a COCO file; an object with a mask and four numbers has the smallest rectangle around its mask,
    as in training. No faster engine knows their overlap, so `use_fast_impl` changes nothing.
    """

    _known_tasks = ("bbox",)
    _evaluation_types = dict.fromkeys((True, False), RotatedCOCOeval)

    def _load_ground_truth(self) -> dict[str, Any]:
        truth = super()._load_ground_truth()
        for annotation in truth.get("annotations", ()):
            # Crowds keep COCO's box; boxes that cannot be read are left out later.
            if annotation.get("segmentation") and not annotation.get("iscrowd"):
                xywh = {**annotation, "bbox_mode": BoxMode.XYWH_ABS}
                annotation["bbox"] = rotated_box(xywh).tolist()
        return truth

    def _tasks_from_predictions(self, predictions: Iterable[dict[str, Any]]) -> list[str]:
        return ["bbox"]

    def instances_to_json(self, instances: Instances, img_id: int | str) -> list[dict[str, Any]]:
        """Write a model's instances as COCO result dicts.

        Args:
            instances: with scores, pred_classes and pred_boxes, `RotatedBoxes` or `Boxes`.
            img_id: id of the image.

        Returns:
            For each instance image_id, category_id (class number), score and bbox: five numbers
            of a rotated box, or xywh.
        """
        boxes = instances.pred_boxes.tensor.detach().cpu()
        if not isinstance(instances.pred_boxes, RotatedBoxes):
            boxes = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
        rows = zip(
            instances.pred_classes.tolist(), boxes.tolist(), instances.scores.tolist(), strict=True
        )
        return [
            {"image_id": img_id, "category_id": label, "bbox": box, "score": score}
            for label, box, score in rows
        ]
