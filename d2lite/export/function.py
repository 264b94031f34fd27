"""A model as a function of tensors, from 8-bit images to padded results in their pixels.

N images, C channels, H x W pixels, D detections at most, K classes, M x M cells of a mask.
"""

from typing import Any

import torch
from torch import Tensor, nn

from d2lite.layers import Conv2d
from d2lite.layers.frozen_batch_norm import FrozenBatchNorm2d
from d2lite.layers.mask_ops import cell_weights
from d2lite.modeling.padded import PaddedBoxes, best_rows, clip_to_sizes, take_rows

from .preprocessing import MOST_PIXELS, Preprocessing, Resize, axis_weights

__all__ = ["DetectorFunction"]

_BOX_FIELDS = PaddedBoxes._fields
# Sides of the network's input, sizes of the images in it, sides of the given batch, sizes in it.
Shapes = tuple[Any, Tensor, Any, Tensor]


class DetectorFunction(nn.Module):
    """What is exported: `images, sizes -> results` with all steps inside.

    Args:
        detector: in evaluation mode; its layers are used, and not changed.
        resize: of images before the network.
        paste_masks: give masks in the pixels of the images, and not of the boxes.

    Attributes:
        output_names: of the results, in order; known after the first call.
    """

    def __init__(self, detector: Any, resize: Resize, *, paste_masks: bool = False) -> None:
        super().__init__()
        self.detector = detector
        self.preprocessing = Preprocessing(detector, resize)
        self.paste_masks = paste_masks
        self.output_names: tuple[str, ...] = ()

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            images: (N, C, H, W) uint8, channels in the order of INPUT.FORMAT.
            sizes: (N, 2) int64 height and width of each image in its H x W pixels.

        Returns:
            Those of these that the model has: `boxes` (N, D, 4) float32 xyxy in pixels, `scores`
            (N, D) float32, best first, `classes` (N, D) int64, `count` (N,) int64, how many of
            the D rows are detections (zeros follow them), `masks` (N, D, M, M) float32
            probabilities in the boxes, or (N, D, H, W) bool with `paste_masks`, `keypoints` (N, D,
            P, 3) x, y, score, `sem_seg` (N, K, H, W) scores of pixels, and `segments` (N, H, W)
            int64 numbers, 0 for none, with `segment_classes` (N, S), the class of each number.
        """
        inputs, seen = self.preprocessing(images, sizes)
        found = self.detector.predict_padded(inputs, seen)
        outputs: dict[str, Tensor] = {}
        shapes = (inputs.shape[2:], seen, images.shape[2:], sizes)
        if "query_masks" in found:
            scaled = _scaled_masks(found.pop("query_masks"), *shapes)
            found |= self.detector.results_padded(found.pop("query_logits"), scaled, sizes)
        if "segment_maps" in found:
            maps = _resized_maps(found.pop("segment_maps"), *shapes[1:])
            found |= self.detector.results_of_maps(maps, seen, sizes)
        outputs |= {key: found[key] for key in ("segments", "segment_classes") if key in found}
        if "image_sem_seg" in found:
            outputs["sem_seg"] = found["image_sem_seg"]
        if "boxes" in found:
            outputs |= self._in_image_pixels(found, shapes)
        elif "soft_masks" in found:
            outputs |= self._of_masks(found, _scaled_masks(found["soft_masks"], *shapes))
        elif "image_masks" in found:
            outputs |= self._of_masks(found, found["image_masks"])
        if "sem_seg" in found:
            outputs["sem_seg"] = _resized_maps(found["sem_seg"], *shapes[1:])
        self.output_names = tuple(outputs)
        return tuple(outputs.values())

    def _of_masks(self, found: dict[str, Tensor], scaled: Tensor) -> dict[str, Tensor]:
        """Results whose boxes are those around masks in pixels of the image."""
        valid = found["valid"]
        masks = self._masks_of(scaled, valid)
        return {
            "boxes": _boxes_around(masks),
            "scores": found["scores"],
            "classes": found["classes"],
            "count": valid.sum(dim=1),
            "masks": masks,
        }

    def _masks_of(self, scaled: Tensor, valid: Tensor) -> Tensor:
        self.paste_masks = True
        is_in = scaled if scaled.dtype == torch.bool else scaled > self.detector.soft_mask_threshold
        return is_in & valid[..., None, None]

    def _in_image_pixels(self, found: dict[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
        """Scale, and take out rows that vanish, as `detector_postprocess` does."""
        _, seen, canvas, sizes = shapes
        ratio = (sizes.double() / seen.double()).float()
        boxes = clip_to_sizes(found["boxes"] * ratio[:, [1, 0, 1, 0]][:, None], sizes)
        valid = found["valid"] & (boxes[..., 2:] > boxes[..., :2]).all(dim=2)
        order, valid = best_rows(found["scores"], valid, boxes.shape[1])
        rest = {name: x for name, x in found.items() if name not in (*_BOX_FIELDS, "sem_seg")}
        rows = {name: take_rows(x, order) for name, x in rest.items()}
        kept = PaddedBoxes(
            take_rows(boxes, order),
            take_rows(found["scores"], order),
            take_rows(found["classes"], order),
            valid,
        ).of_valid()
        outputs = {
            "boxes": kept.boxes,
            "scores": kept.scores,
            "classes": kept.classes,
            "count": valid.sum(dim=1),
        }
        if "masks" in rows:
            masks = rows["masks"][:, :, 0].masked_fill(~valid[..., None, None], 0.0)
            outputs["masks"] = _pasted(masks, kept.boxes, canvas) if self.paste_masks else masks
        if "soft_masks" in rows:
            outputs["masks"] = self._masks_of(_scaled_masks(rows["soft_masks"], *shapes), valid)
        if "keypoints" in rows:
            factor = torch.cat([ratio[:, [1, 0]], torch.ones_like(ratio[:, :1])], dim=1)
            points = rows["keypoints"] * factor[:, None, None]
            outputs["keypoints"] = points.masked_fill(~valid[..., None, None], 0.0)
        return outputs


def _boxes_around(masks: Tensor) -> Tensor:
    """(N, D, H, W) bool -> (N, D, 4) float32, as `BitMasks.get_bounding_boxes`."""
    corners = []
    # onnxruntime computes `any` in int64, which takes three times as long.
    numbers = masks.to(torch.uint8)
    for is_in in (numbers.amax(dim=2) > 0, numbers.amax(dim=3) > 0):
        place = torch.arange(is_in.shape[2], device=masks.device)
        low = torch.where(is_in, place, MOST_PIXELS).amin(dim=2)
        high = torch.where(is_in, place + 1, 0).amax(dim=2)
        corners.append((torch.where(high > 0, low, 0), high))
    (x0, x1), (y0, y1) = corners
    return torch.stack([x0, y0, x1, y1], dim=2).float()


def _pasted(masks: Tensor, boxes: Tensor, canvas: Any) -> Tensor:
    """`paste_masks_in_image` of (N, D, M, M) masks; (N, D, H, W) bool."""
    flat, cells = boxes.flatten(0, 1), masks.shape[-1]
    weights = [
        cell_weights(flat[:, axis], flat[:, axis + 2], 0, side, cells)
        for axis, side in ((1, canvas[0]), (0, canvas[1]))
    ]
    pasted = weights[0] @ masks.flatten(0, 1) @ weights[1].mT >= 0.5
    return pasted.reshape(*masks.shape[:2], *pasted.shape[1:])


def _scaled_masks(soft: Tensor, padded: Any, seen: Tensor, canvas: Any, sizes: Tensor) -> Tensor:
    """(N, D, h, w) on the padded image -> (N, D, H, W) on the image, 0 beyond each image.

    In two steps, to the padded image and to the image, as the ordinary path does.
    """
    weights = []
    for axis in range(2):
        cells, pixels = soft.shape[2 + axis], padded[axis]
        all_cells = torch.full_like(seen[:, axis], 1) * cells
        up = axis_weights(cells, all_cells, pixels, all_cells * 0 + pixels, antialias=False)
        down = axis_weights(pixels, seen[:, axis], canvas[axis], sizes[:, axis], antialias=False)
        weights.append(down @ up)
    # Columns first: the larger product is then one over the fewer rows of a wide image.
    return weights[0][:, None] @ (soft @ weights[1][:, None].mT)


def _resized_maps(scores: Tensor, seen: Tensor, canvas: Any, sizes: Tensor) -> Tensor:
    """`sem_seg_postprocess` of (N, K, P, Q) scores; (N, K, H, W), 0 beyond each image."""
    down = axis_weights(scores.shape[2], seen[:, 0], canvas[0], sizes[:, 0], antialias=False)
    across = axis_weights(scores.shape[3], seen[:, 1], canvas[1], sizes[:, 1], antialias=False)
    return down[:, None] @ scores @ across[:, None].mT


def fold_batch_norms_(model: nn.Module) -> nn.Module:
    """Put each frozen batch norm into the weights of the convolution before it, in place.

    Every convolution has a bias afterwards: without one, the file would compute zeros, and a
    convolution with a computed bias is not quantized.

    Args:
        model: in evaluation mode.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(layer.out_channels))
        if isinstance(layer, Conv2d) and type(layer.norm) is FrozenBatchNorm2d:
            scale, shift = layer.norm.scale_and_shift()
            bias = shift if layer.bias is None else torch.addcmul(shift, layer.bias, scale)
            weight = layer.weight * scale[:, None, None, None]
            layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
            layer.norm = None
    return model
