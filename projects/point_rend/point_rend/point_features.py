"""Points of boxes: their places in the image, the features there, and the truth."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.layers.point_sampling import (
    generate_regular_grid_point_coords,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
)
from d2lite.structures import BitMasks, Boxes, Instances

__all__ = [
    "generate_regular_grid_point_coords",
    "get_point_coords_wrt_image",
    "get_uncertain_point_coords_on_grid",
    "get_uncertain_point_coords_with_randomness",
    "point_sample",
    "point_sample_fine_grained_features",
    "sample_point_labels",
    "sample_rows",
]


def get_point_coords_wrt_image(boxes_coords: Tensor, point_coords: Tensor) -> Tensor:
    """Places in the image of points that are given within boxes.

    Args:
        boxes_coords: (R, 4) xyxy in pixels.
        point_coords: (R, P, 2), (0, 0) the upper left corner of a box and (1, 1) the lower right.

    Returns:
        (R, P, 2) x and y in pixels, without a gradient to the boxes.
    """
    low, high = boxes_coords.detach()[:, None].split(2, dim=-1)
    return low + point_coords * (high - low)


def point_sample_fine_grained_features(
    features_list: Sequence[Tensor],
    feature_scales: Sequence[float],
    boxes: Sequence[Boxes],
    point_coords: Tensor,
) -> tuple[Tensor, Tensor]:
    """Features of points of boxes, from one or several maps.

    Args:
        features_list: (N, Ci, Hi, Wi) maps.
        feature_scales: 1 / stride of each map.
        boxes: of each image, R in all.
        point_coords: (R, P, 2) within the boxes.

    Returns:
        (R, sum of Ci, P) features, and the (R, P, 2) places of the points in the image, in pixels.
    """
    places = get_point_coords_wrt_image(Boxes.cat(list(boxes)).tensor, point_coords)
    of_images = places.split([len(of_image) for of_image in boxes])
    sampled = []
    for feature, scale in zip(features_list, feature_scales, strict=True):
        height, width = feature.shape[-2:]
        size = torch.tensor([width, height], device=feature.device) / scale
        of_map = [
            point_sample(feature[i : i + 1], (points / size)[None], align_corners=False)[0]
            for i, points in enumerate(of_images)
        ]
        sampled.append(torch.cat(of_map, dim=1).transpose(0, 1))
    return torch.cat(sampled, dim=1), places


def sample_rows(
    features_list: Sequence[Tensor],
    feature_scales: Sequence[float],
    rois: Tensor,
    point_coords: Tensor,
) -> Tensor:
    """`point_sample_fine_grained_features` in a form that can be exported.

    The maps of the images are put below each other, with a row of zeros between them, and all
    points are looked up at once: a graph has no loop over images.

    Args:
        features_list: (N, Ci, Hi, Wi) maps.
        feature_scales: 1 / stride of each map.
        rois: (R, 5) float, (image, x0, y0, x1, y1).
        point_coords: (R, P, 2) within the boxes.

    Returns:
        (R, sum of Ci, P) features.
    """
    x, y = get_point_coords_wrt_image(rois[:, 1:], point_coords).unbind(dim=2)
    sampled = []
    for feature, scale in zip(features_list, feature_scales, strict=True):
        tall = F.pad(feature, (0, 0, 0, 1)).transpose(0, 1).flatten(1, 2)
        below = rois[:, :1] * (feature.shape[2] + 1)
        points = torch.stack(
            [x * scale / tall.shape[2], (y * scale + below) / tall.shape[1]], dim=2
        )
        found = point_sample(tall[None], points[None], align_corners=False)[0]
        sampled.append(found.transpose(0, 1))
    return torch.cat(sampled, dim=1)


def sample_point_labels(instances: Sequence[Instances], point_coords: Tensor) -> Tensor:
    """How much of each point belongs to its object.

    Args:
        instances: of each image, with proposal_boxes and gt_masks; R in all.
        point_coords: (R, P, 2) within the boxes.

    Returns:
        (R, P) float in [0, 1]: the masks, interpolated at the points.
    """
    with torch.no_grad():
        counts = [len(found) for found in instances]
        labels = [
            _of_image(found, points)
            for found, points in zip(instances, point_coords.split(counts), strict=True)
            if len(found)
        ]
        return torch.cat(labels) if labels else point_coords.new_zeros(point_coords.shape[:2])


def _of_image(instances: Instances, points: Tensor) -> Tensor:
    bits = BitMasks.of(instances.gt_masks, *instances.image_size).tensor.to(points.device)
    height, width = bits.shape[-2:]
    places = get_point_coords_wrt_image(instances.proposal_boxes.tensor, points)
    size = torch.tensor([width, height], device=points.device, dtype=points.dtype)
    return point_sample(bits[:, None], places / size, align_corners=False)[:, 0]
