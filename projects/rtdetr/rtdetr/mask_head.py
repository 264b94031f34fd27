"""QueryMaskHead: masks of queries, as products of a query's vector with a map of pixels' vectors.

N images, R boxes, T objects of a batch, M assigned pairs, C channels of queries, E of vectors,
S cells of a mask's side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from d2lite.layers.batch_norm import Norm
from d2lite.modeling.transformer import (
    MLP,
    ConvNorm,
    Pairs,
    Predictions,
    mask_bce_losses,
    mask_dice_losses,
)
from d2lite.structures import Instances
from d2lite.utils.errors import DataError

# A mask also learns what is just outside its object: a predicted box may be larger than the true.
_MARGIN = 0.1


class QueryMaskHead(nn.Module):
    """Predicts the mask of a query inside a box.

    Args:
        in_channels: of the finest encoded map.
        channels: C.
        stride: of that map, in pixels; vectors of pixels are twice as dense.
        width: E.
        size: S.
        norm: a name or callable for `get_norm`.

    The vectors follow YOLACT's prototypes, cropped by boxes: Bolya 2019, arXiv:1904.02689,
    section 3; their training on aligned cells is that of Mask R-CNN, arXiv:1703.06870.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        width: int = 64,
        size: int = 28,
        norm: Norm = "BN",
    ) -> None:
        super().__init__()
        self.scale, self.size = 2 / stride, size
        self.coarse = ConvNorm(in_channels, channels, 3, norm=norm)
        self.fine = ConvNorm(channels, channels, 3, norm=norm)
        self.pixel_embed = nn.Conv2d(channels, width, 1)
        self.query_embed = MLP(channels, channels, width, 3)

    def pixels(self, finest: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, E, 2 * H, 2 * W) vectors of pixels."""
        doubled = F.interpolate(
            self.coarse(finest), scale_factor=2, mode="bilinear", align_corners=False
        )
        vectors: Tensor = self.pixel_embed(self.fine(doubled))
        return vectors

    def crop(self, pixels: Tensor, boxes: Sequence[Tensor] | Tensor) -> Tensor:
        """(R, E, S * S) vectors in boxes, given for each image as (.., 4) xyxy in its pixels.

        Or as (R, 5), with the number of the image before them.
        """
        given = boxes if isinstance(boxes, Tensor) else list(boxes)
        crops: Tensor = roi_align(
            pixels.float(), given, (self.size, self.size), self.scale, 2, aligned=True
        )
        return crops.flatten(2)

    def forward(self, queries: Tensor, crops: Tensor) -> Tensor:
        """Compute masks.

        Args:
            queries: (R, L, C) features of L queries for each box.
            crops: (R, E, S * S), see `crop`.

        Returns:
            (R, L, S * S) logits.
        """
        vectors = self.query_embed(queries).to(crops.dtype)
        return torch.bmm(vectors, crops) * vectors.shape[-1] ** -0.5

    def losses(
        self, found: Predictions, pairs: Pairs, crops: Tensor, truth: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the losses of assigned pairs.

        Args:
            found: predictions with `features`.
            pairs: at most one of each object in a layer.
            crops: (T, E, S * S) at the objects.
            truth: (T, S * S) float, 1 on the object.

        Returns:
            "mask" and "dice" -> (M',) losses of the pairs whose layers have features, and (M',)
            those layers.
        """
        features = found.features
        assert features is not None
        layers, images, queries, objects, weights = (
            part[pairs.layers < len(features)] for part in pairs
        )
        # All layers of an object share its crop.
        by_object = features.new_zeros(len(crops), len(features), features.shape[-1])
        of_pairs = features[layers, images, queries]
        by_object = by_object.index_put((objects, layers), of_pairs)
        logits = self(by_object, crops)[objects, layers]
        labels = truth[objects]
        return {
            "mask": mask_bce_losses(logits, labels) * weights,
            "dice": mask_dice_losses(logits, labels) * weights,
        }, layers


def regions_and_masks(
    truths: Sequence[Instances], names: Sequence[str], size: int
) -> tuple[list[Tensor], Tensor]:
    """Boxes with a margin around the objects, and the objects in them.

    Args:
        truths: gt_boxes and gt_masks of each image.
        names: of the images, for a message.
        size: S.

    Returns:
        For each image (.., 4) xyxy in pixels, and (T, S * S) float32, 1 on the object.

    Raises:
        DataError: if there are objects without masks.
    """
    regions, masks = [], []
    for truth, name in zip(truths, names, strict=True):
        boxes = truth.gt_boxes.tensor.float()
        margin = (boxes[:, 2:] - boxes[:, :2]) * _MARGIN
        regions.append(torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1))
        if not len(boxes):
            masks.append(boxes.new_zeros(0, size, size))
        elif truth.has("gt_masks"):
            masks.append(truth.gt_masks.crop_and_resize(regions[-1], size).to(boxes))
        else:
            raise DataError(
                f"{name} has {len(boxes)} objects without masks, and MODEL.MASK_ON is True. Use a "
                "set with masks, or MODEL.MASK_ON False."
            )
    return regions, torch.cat(masks).flatten(1)
