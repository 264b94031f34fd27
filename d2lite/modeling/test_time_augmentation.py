"""Detect in several sizes of an image and its mirror images, and merge the results.

A view is one resized and perhaps mirrored version of the image. R boxes, K keypoints, S x S cells
of a heatmap.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize_image

from d2lite.config import CfgNode, configurable
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DataError

from .meta_arch import DenseDetector, GeneralizedRCNN, PanopticFPN
from .postprocessing import detector_postprocess
from .roi_heads.fast_rcnn_inference import fast_rcnn_inference_single_image
from .roi_heads.keypoint_head import keypoint_rcnn_inference
from .view_transform import Size, ViewTransform

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"]

# Detections come with scores above the model's threshold; this only drops empty columns.
_ANY_SCORE = 1e-8
# Attributes that say what heads predict besides boxes.
_BRANCHES = ("mask_on", "keypoint_on")


class DatasetMapperTTA:
    """Make the views of an image: every size, and each of them mirrored too.

    Args:
        min_sizes: wanted lengths of the shorter side, in pixels.
        max_size: no side gets longer.
        flip: add a horizontally mirrored view of every size.
    """

    @configurable
    def __init__(self, min_sizes: list[int], max_size: int, flip: bool) -> None:
        self.min_sizes = min_sizes
        self.max_size = max_size
        self.flip = flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `TEST.AUG`."""
        node = cfg.TEST.AUG
        return {"min_sizes": node.MIN_SIZES, "max_size": node.MAX_SIZE, "flip": node.FLIP}

    def __call__(self, dataset_dict: dict[str, Any]) -> list[dict[str, Any]]:
        """Make the views of one image.

        Args:
            dataset_dict: an element of a batch: `image` (C, H, W), and `height` and `width` of the
                original where the image is a resized one.

        Returns:
            a copy of the dict for each view, with its `image`, and `transforms` from the original
            to the view.
        """
        image = dataset_dict["image"]
        seen: Size = (image.shape[-2], image.shape[-1])
        original = _original_size(dataset_dict)
        views = []
        for min_size in self.min_sizes:
            size = _size_of_view(seen, min_size, self.max_size)
            resized = _resize(image, size)
            for is_mirrored in (False, True) if self.flip else (False,):
                transform = ViewTransform.between(original, size, is_mirrored=is_mirrored)
                pixels = resized.flip(-1) if is_mirrored else resized
                views.append({**dataset_dict, "image": pixels, "transforms": transform})
        return views


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

    num_classes: int
    nms_thresh: float

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
        self.model = _checked(model)
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        self.batch_size = batch_size
        self.keypoint_flip_indices = keypoint_flip_indices
        self.max_detections_per_image = cfg.TEST.DETECTIONS_PER_IMAGE
        if self.roi_heads is None:
            self.num_classes = self.model.num_classes
            self.nms_thresh = self.model.test_nms_thresh
        else:
            self.num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
            self.nms_thresh = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST

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
            batched_inputs: as a `Detector` takes them.

        Returns:
            {"instances": detections} of each image, in pixels of `height` and `width`.
        """
        return [{"instances": self._detect(item)} for item in batched_inputs]

    def _detect(self, item: dict[str, Any]) -> Instances:
        if "image" not in item:
            raise DataError(
                f"Test-time augmentation makes its views from 'image'; {sorted(item)} has none. "
                "Use a test loader, which reads it."
            )
        original = _original_size(item)
        views = self.tta_mapper({**item, "height": original[0], "width": original[1]})
        seen_as = [ViewTransform.of(view["transforms"], original) for view in views]
        # Without a wanted size, results are in pixels of the view.
        without = ("transforms", "height", "width")
        views = [{k: v for k, v in view.items() if k not in without} for view in views]

        detections = self._join_boxes(self._find_boxes(views), seen_as, original)
        if any(getattr(self.roi_heads, branch, False) for branch in _BRANCHES):
            self._add_masks_and_keypoints_(detections, views, seen_as)
        return detector_postprocess(detections, *original)

    def _find_boxes(self, views: list[dict[str, Any]]) -> list[Instances]:
        """Boxes, scores and classes in each view."""
        found: list[Instances] = []
        with _boxes_only(self.roi_heads):
            for start in range(0, len(views), self.batch_size):
                batch = views[start : start + self.batch_size]
                if self.roi_heads is None:
                    found += [result["instances"] for result in self.model.predict(batch)]
                else:
                    found += self.model.inference(batch, do_postprocess=False)
        if any(isinstance(result.pred_boxes, RotatedBoxes) for result in found):
            raise ConfigError(
                "Test-time augmentation does not support rotated boxes. Leave it off."
            )
        return found

    def _join_boxes(
        self, found: list[Instances], seen_as: list[ViewTransform], original: Size
    ) -> Instances:
        """One NMS over the boxes of all views, in pixels of the original."""
        boxes = torch.cat(
            [
                transform.inverse().apply_box(result.pred_boxes.tensor)
                for result, transform in zip(found, seen_as, strict=True)
            ]
        )
        scores = torch.cat([result.scores for result in found])
        classes = torch.cat([result.pred_classes for result in found])
        # A column for background, in which nothing is written.
        table = scores.new_zeros(len(scores), self.num_classes + 1)
        table.scatter_(1, classes[:, None], scores[:, None])
        joined, _ = fast_rcnn_inference_single_image(
            boxes, table, original, _ANY_SCORE, self.nms_thresh, self.max_detections_per_image
        )
        return joined

    def _add_masks_and_keypoints_(
        self,
        detections: Instances,
        views: list[dict[str, Any]],
        seen_as: list[ViewTransform],
    ) -> None:
        """Add the masks and keypoints that the views give on average."""
        masks, heatmaps = _Mean(), _Mean()
        for start in range(0, len(views), self.batch_size):
            batch = views[start : start + self.batch_size]
            transforms = seen_as[start : start + self.batch_size]
            given = [
                Instances(
                    tuple(view["image"].shape[-2:]),
                    pred_boxes=Boxes(transform.apply_box(detections.pred_boxes.tensor)),
                    pred_classes=detections.pred_classes,
                    scores=detections.scores,
                )
                for view, transform in zip(batch, transforms, strict=True)
            ]
            results = self.model.inference(batch, given, do_postprocess=False)
            for result, transform in zip(results, transforms, strict=True):
                if result.has("pred_masks"):
                    masks.add(transform.unmirror(result.pred_masks))
                if result.has("pred_keypoint_heatmaps"):
                    self._add_heatmaps(heatmaps, result.pred_keypoint_heatmaps, transform)
        if masks.count:
            detections.pred_masks = masks.value()
        if getattr(self.roi_heads, "keypoint_on", False):
            if not heatmaps.count:
                raise ConfigError(
                    "Every view is mirrored, and it is not known which keypoints change places "
                    "then. Give GeneralizedRCNNWithTTA keypoint_flip_indices."
                )
            keypoint_rcnn_inference(heatmaps.value(), [detections])

    def _add_heatmaps(self, mean: "_Mean", heatmaps: Tensor, transform: ViewTransform) -> None:
        """Add (R, K, S, S) of one view, as they are without mirroring."""
        if transform.scale[0] * transform.scale[1] > 0:
            mean.add(transform.unmirror(heatmaps))
        elif self.keypoint_flip_indices is not None:
            mean.add(transform.unmirror(heatmaps)[:, list(self.keypoint_flip_indices)])


class _Mean:
    """The mean of tensors; only their sum is kept."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Any = None

    def add(self, value: Tensor) -> None:
        self._sum = self._sum + value if self.count else value
        self.count += 1

    def value(self) -> Tensor:
        mean: Tensor = self._sum / self.count
        return mean


@contextmanager
def _boxes_only(roi_heads: nn.Module | None) -> Iterator[None]:
    """Inside, heads predict neither masks nor keypoints."""
    before = {name: getattr(roi_heads, name) for name in _BRANCHES if hasattr(roi_heads, name)}
    try:
        for name in before:
            setattr(roi_heads, name, False)
        yield
    finally:
        for name, value in before.items():
            setattr(roi_heads, name, value)


def _checked(model: nn.Module) -> Any:
    """The model itself, without what distributes it; refused if its views cannot be merged."""
    model = comm.unwrap(model)
    if isinstance(model, PanopticFPN) or not isinstance(model, GeneralizedRCNN | DenseDetector):
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


def _original_size(item: dict[str, Any]) -> Size:
    height, width = item["image"].shape[-2:]
    return int(item.get("height", height)), int(item.get("width", width))


def _size_of_view(size: Size, min_size: int, max_size: int) -> Size:
    """(height, width) after a resize to a shorter side of `min_size`, none above `max_size`."""
    short, long = sorted(size)
    # In this order of operations the rounding is that of the data's ResizeShortestEdge.
    sides = np.array([min_size, min_size / short * long])
    sides *= min(1.0, max_size / sides.max())
    new_short, new_long = (max(int(side + 0.5), 1) for side in sides)
    return (new_short, new_long) if size[0] < size[1] else (new_long, new_short)


def _resize(image: Tensor, size: Size) -> Tensor:
    """(C, H, W) to a size; as in the data's transforms, only uint8 is smoothed to shrink."""
    if tuple(image.shape[-2:]) == size:
        return image
    return resize_image(image, list(size), antialias=image.dtype == torch.uint8)
