"""Detect in several sizes of an image and its mirror images, and merge the results.

A view is one resized and perhaps mirrored version of the image. R boxes, K keypoints, S x S cells
of a heatmap.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DataError

from .keep_best import soft_nms_arguments
from .meta_arch import DenseDetector, GeneralizedRCNN, PanopticFPN
from .postprocessing import detector_postprocess
from .roi_heads.fast_rcnn_inference import fast_rcnn_inference_single_image
from .roi_heads.keypoint_head import keypoint_rcnn_inference
from .tta_views import DatasetMapperTTA, original_size, read_upright
from .view_transform import Size, ViewTransform

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"]

# Detections come with scores above the model's threshold; this only drops empty columns.
_ANY_SCORE = 1e-8
# Attributes that say what heads predict besides boxes.
_BRANCHES = ("mask_on", "keypoint_on")


class GeneralizedRCNNWithTTA(nn.Module):
    """A detector that uses several views of every image: more accurate, and slower.

    The boxes of all views go through one NMS. Masks and keypoints of the boxes that stay are then
    predicted in every view and averaged: masks as probabilities, keypoints as heatmaps.

    Args:
        cfg: has the NMS threshold, `TEST.DETECTIONS_PER_IMAGE` and the views (`TEST.AUG`).
        model: a `GeneralizedRCNN`, a `RetinaNet` or another `DenseDetector`, also inside
            `DistributedDataParallel`.
        tta_mapper: dict of an image -> dicts of its views, with `transforms`; a
            `DatasetMapperTTA` by default. Views may be resized, cropped and mirrored.
        batch_size: views in one pass of the network.
        keypoint_flip_indices: (K,) the keypoint that each one is in a mirrored image, as
            `create_keypoint_hflip_indices` gives it. Without it mirrored views are used for
            boxes and masks, but not for keypoints.

    Raises:
        ConfigError: for a model of another kind, or one that reads its proposals.

    Source: He 2017, arXiv:1703.06870, appendix A.
    """

    # Class defaults, so that a subclass may have an __init__ of its own.
    keypoint_flip_indices: Sequence[int] | None = None

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        tta_mapper: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None,
        batch_size: int = 3,
        *,
        keypoint_flip_indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        # Kept, against the habit here, since subclasses read it.
        self.cfg = cfg.clone()
        self.model = _checked(model)
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        self.batch_size = batch_size
        self.keypoint_flip_indices = keypoint_flip_indices

    @property
    def class_names(self) -> list[str] | None:
        """The classes of the model, in order; None where they have not been set."""
        return getattr(self.model, "class_names", None)

    @property
    def roi_heads(self) -> Any:
        """The heads on regions; None in a dense detector."""
        return getattr(self.model, "roi_heads", None)

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detect.

        Args:
            batched_inputs: as a `Detector` takes them; `image` is read from `file_name` if missing.

        Returns:
            {"instances": detections} of each image, in pixels of `height` and `width`.
        """
        return [self._inference_one_image(self._with_image(item)) for item in batched_inputs]

    def _with_image(self, item: dict[str, Any]) -> dict[str, Any]:
        """The item with `image`, `height` and `width`."""
        if "image" not in item:
            if "file_name" not in item:
                raise DataError(
                    "Test-time augmentation makes its views from 'image', or reads 'file_name'; "
                    f"{sorted(item)} has neither. Use a test loader."
                )
            item = {**item, "image": read_upright(item["file_name"], self.model.input_format)}
        height, width = original_size(item)
        return {**item, "height": height, "width": width}

    def _inference_one_image(self, input: dict[str, Any]) -> dict[str, Any]:
        """Detect in one image.

        The steps are methods under the names of detectron2, so that subclasses can change one.
        `tfms` are what the mapper gives as "transforms", one a view; lists go by view.

        Args:
            input: with `image`, `height` and `width`.

        Returns:
            {"instances": detections}, in pixels of `height` and `width`.
        """
        original: Size = (input["height"], input["width"])
        views, tfms = self._get_augmented_inputs(input)
        with self._turn_off_roi_heads(_BRANCHES):
            boxes, scores, classes = self._get_augmented_boxes(views, tfms)
        merged = self._merge_detections(boxes, scores, classes, original)
        has_masks, has_keypoints = (getattr(self.roi_heads, x, False) for x in _BRANCHES)
        if has_masks or has_keypoints:
            given = self._rescale_detected_boxes(views, merged, tfms)
            outputs = self._batch_inference(views, given)
            if has_masks:
                merged.pred_masks = self._reduce_pred_masks(outputs, tfms)
            if has_keypoints:
                keypoint_rcnn_inference(self._mean_heatmaps(outputs, tfms), [merged])
        return {"instances": detector_postprocess(merged, *original)}

    def _get_augmented_inputs(
        self, input: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        """The views of an image, and the transform from the original to each."""
        views = self.tta_mapper(input)
        tfms = [view["transforms"] for view in views]
        return [{k: v for k, v in view.items() if k != "transforms"} for view in views], tfms

    def _batch_inference(
        self,
        batched_inputs: Sequence[dict[str, Any]],
        detected_instances: Sequence[Instances] | None = None,
    ) -> list[Instances]:
        """Results of views, in pixels of the view; `batch_size` of them in one pass.

        Args:
            batched_inputs: the views.
            detected_instances: of each view; then masks and keypoints of these are predicted.
        """
        results: list[Instances] = []
        for start in range(0, len(batched_inputs), self.batch_size):
            part = slice(start, start + self.batch_size)
            # Without a wanted size, results are in pixels of the view.
            views = [
                {k: v for k, v in view.items() if k not in ("height", "width")}
                for view in batched_inputs[part]
            ]
            if self.roi_heads is None:
                results += [result["instances"] for result in self.model.predict(views)]
            else:
                given = None if detected_instances is None else detected_instances[part]
                results += self.model.inference(views, given, do_postprocess=False)
        return results

    @contextmanager
    def _turn_off_roi_heads(self, attrs: Sequence[str]) -> Iterator[None]:
        """Inside, these attributes of the heads, such as "mask_on", are False."""
        heads = self.roi_heads
        before = {name: getattr(heads, name) for name in attrs if hasattr(heads, name)}
        try:
            for name in before:
                setattr(heads, name, False)
            yield
        finally:
            for name, value in before.items():
                setattr(heads, name, value)

    def _get_augmented_boxes(
        self, augmented_inputs: list[dict[str, Any]], tfms: list[Any]
    ) -> tuple[Any, Any, Any]:
        """Boxes of all views in pixels of the original, (R, 4), their scores and classes, (R,)."""
        found = self._batch_inference(augmented_inputs)
        if any(isinstance(result.pred_boxes, RotatedBoxes) for result in found):
            raise ConfigError(
                "Test-time augmentation does not support rotated boxes. Leave it off."
            )
        boxes = [
            ViewTransform.of(tfm).inverse().apply_box(result.pred_boxes.tensor)
            for result, tfm in zip(found, tfms, strict=True)
        ]
        scores = torch.cat([result.scores for result in found])
        return torch.cat(boxes), scores, torch.cat([result.pred_classes for result in found])

    def _merge_detections(
        self, all_boxes: Tensor, all_scores: Any, all_classes: Any, shape_hw: Size
    ) -> Instances:
        """One NMS over the boxes of all views.

        Args:
            all_boxes: (R, 4) in pixels of the original.
            all_scores: R numbers.
            all_classes: R numbers.
            shape_hw: of the original.
        """
        scores = torch.as_tensor(all_scores, dtype=all_boxes.dtype, device=all_boxes.device)
        classes = torch.as_tensor(all_classes, dtype=torch.int64, device=all_boxes.device)
        node = self.cfg.MODEL.ROI_HEADS
        if self.roi_heads is None:
            num_classes, nms_thresh = self.model.num_classes, self.model.test_nms_thresh
        else:
            num_classes, nms_thresh = node.NUM_CLASSES, node.NMS_THRESH_TEST
        # A column for background, in which nothing is written.
        table = scores.new_zeros(len(scores), num_classes + 1)
        table.scatter_(1, classes[:, None], scores[:, None])
        limit = self.cfg.TEST.DETECTIONS_PER_IMAGE
        return fast_rcnn_inference_single_image(
            all_boxes,
            table,
            shape_hw,
            _ANY_SCORE,
            nms_thresh,
            limit,
            soft_nms=soft_nms_arguments(self.cfg).get("soft_nms"),
        )[0]

    def _rescale_detected_boxes(
        self, augmented_inputs: list[dict[str, Any]], merged_instances: Instances, tfms: list[Any]
    ) -> list[Instances]:
        """The merged detections as each view shows them."""
        return [
            Instances(
                tuple(view["image"].shape[-2:]),
                pred_boxes=Boxes(
                    ViewTransform.of(tfm).apply_box(merged_instances.pred_boxes.tensor)
                ),
                pred_classes=merged_instances.pred_classes,
                scores=merged_instances.scores,
            )
            for view, tfm in zip(augmented_inputs, tfms, strict=True)
        ]

    def _reduce_pred_masks(self, outputs: list[Instances], tfms: list[Any]) -> Tensor:
        """The mean of the masks of all views, (R, 1, S, S)."""
        return _mean(
            [
                ViewTransform.of(tfm).unmirror(output.pred_masks)
                for output, tfm in zip(outputs, tfms, strict=True)
            ]
        )

    def _mean_heatmaps(self, outputs: list[Instances], tfms: list[Any]) -> Tensor:
        """The mean of the heatmaps of all views that can be used, (R, K, S, S)."""
        maps = []
        for output, tfm in zip(outputs, tfms, strict=True):
            view = ViewTransform.of(tfm)
            heatmaps = view.unmirror(output.pred_keypoint_heatmaps)
            if view.scale[0] * view.scale[1] > 0:
                maps.append(heatmaps)
            elif self.keypoint_flip_indices is not None:
                maps.append(heatmaps[:, list(self.keypoint_flip_indices)])
        if not maps:
            raise ConfigError(
                "Every view is mirrored, and it is not known which keypoints change places "
                "then. Give GeneralizedRCNNWithTTA keypoint_flip_indices."
            )
        return _mean(maps)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(dim=0)


def _checked(model: nn.Module) -> Any:
    """The model itself, without what distributes it; refused if its views cannot be merged."""
    model = comm.unwrap(model)
    is_known = isinstance(model, GeneralizedRCNN | DenseDetector)
    # What a dense detector gives beside boxes belongs to a cell of one view.
    if isinstance(model, PanopticFPN) or not is_known or getattr(model, "keeps_cells", False):
        raise ConfigError(
            f"Test-time augmentation got a {type(model).__name__}; it is for GeneralizedRCNN "
            "and dense detectors such as RetinaNet. Leave TEST.AUG.ENABLED False."
        )
    if isinstance(model, GeneralizedRCNN) and model.proposal_generator is None:
        raise ConfigError(
            "Test-time augmentation cannot use proposals that were made for one view only. Leave "
            "MODEL.LOAD_PROPOSALS or TEST.AUG.ENABLED False."
        )
    return model
