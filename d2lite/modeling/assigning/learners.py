"""The anchors or cells of a batch that learn an object, in one row.

N images, R anchors, P of all images that learn an object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from d2lite.structures import Instances


class Learners(NamedTuple):
    """What learns an object, image by image.

    image: (P,) int64, whose anchor it is.
    row: (P,) int64, its number among the R.
    boxes: (P, 4) float of its object.
    classes: (P,) int64 of its object.
    """

    image: Tensor
    row: Tensor
    boxes: Tensor
    classes: Tensor


def learners_of(owner: Tensor, truth: Sequence[Instances]) -> Learners:
    """Find what learns an object.

    Args:
        owner: (N, R) int64, the number of the object in its own image, -1 for none.
        truth: of each image, with `gt_boxes` and `gt_classes`.
    """
    image, row = (owner >= 0).nonzero(as_tuple=True)
    # Boxes of all images in a row; an owner counts from the first box of its own image.
    firsts = torch.tensor([0, *(len(gt) for gt in truth)], device=owner.device).cumsum(0)
    wanted = owner[image, row] + firsts[image]
    boxes = torch.cat([gt.gt_boxes.tensor for gt in truth])[wanted]
    return Learners(image, row, boxes, torch.cat([gt.gt_classes for gt in truth])[wanted])
