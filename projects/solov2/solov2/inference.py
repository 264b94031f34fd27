"""Predictions of one image: scored kernels and mask features to instances.

R cells of all levels, C categories, D numbers of a kernel, M candidates (a cell with a category),
H x W pixels of the mask features.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from d2lite.structures import BitMasks, Instances
from d2lite.utils.errors import ConfigError

from .matrix_nms import mask_nms, matrix_nms

# Mask features have a quarter of the resolution of the network's input.
MASK_STRIDE = 4

# Elements of a float tensor that one piece of the final upscaling may hold: 128 MiB.
_PIECE_ELEMENTS = 1 << 25


@dataclass(frozen=True)
class InstanceDecoder:
    """Turns the raw predictions of one image into Instances.

    Source: SOLOv2, arXiv:2003.10152, sections 3.3 and 3.4.
    """

    score_threshold: float
    mask_threshold: float
    update_threshold: float
    max_candidates: int  # that enter the NMS
    max_per_image: int
    nms_type: str  # "matrix" or "mask"
    nms_kernel: str
    nms_sigma: float
    pastes_as_published: bool

    def __post_init__(self) -> None:
        """Refuse an unknown NMS when the model is built."""
        if self.nms_type not in ("matrix", "mask"):
            raise ConfigError(f"NMS_TYPE is {self.nms_type!r}; use 'matrix' or 'mask'.")
        if self.nms_kernel not in ("gaussian", "linear"):
            raise ConfigError(f"NMS_KERNEL is {self.nms_kernel!r}; use 'gaussian' or 'linear'.")

    def __call__(
        self,
        scores: Tensor,
        kernels: Tensor,
        features: Tensor,
        strides: Tensor,
        *,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> Instances:
        """Decode one image.

        Args:
            scores: (R, C) probabilities after points NMS.
            kernels: (R, D).
            features: (D, H, W) mask features.
            strides: (R,) stride of each cell's level; a mask of no more pixels is noise.
            image_size: height and width of the image as the network saw it, without padding.
            output_size: height and width that the masks are wanted in.

        Returns:
            Instances of `output_size`, best first: pred_masks (n, h, w) bool, pred_boxes (tight
            around the masks), scores (n,) and pred_classes (n,).
        """
        labels, scores, soft_masks = self._candidates(scores, kernels, features, strides)
        masks = soft_masks > self.mask_threshold
        areas = masks.sum(dim=(1, 2), dtype=torch.float32)
        if self.nms_type == "matrix":
            scores = matrix_nms(
                labels, masks, areas, scores, sigma=self.nms_sigma, kernel=self.nms_kernel
            )
            keep = scores >= self.update_threshold
        else:
            keep = mask_nms(labels, masks, areas, scores, nms_thr=self.mask_threshold)
        kept = keep.nonzero()[:, 0]
        best = kept[scores[kept].argsort(descending=True, stable=True)[: self.max_per_image]]
        pasted = self._paste(soft_masks[best], image_size, output_size)
        result = Instances(output_size)
        result.pred_boxes = BitMasks(pasted).get_bounding_boxes()
        result.scores = scores[best]
        result.pred_classes = labels[best]
        result.pred_masks = pasted
        return result

    def _candidates(
        self, scores: Tensor, kernels: Tensor, features: Tensor, strides: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (M,), scores (M,) and soft masks (M, H, W) of the best candidates, best first.

        Cells come in the order of their best category, `max_candidates` at a time, so that memory
        holds no more maps than that. A mask's quality, at most 1, only lowers its score: once as
        many candidates score above the next cell, no later one can be among them.
        """
        scores = scores.float()
        top_score = scores.amax(dim=1)
        passing = (top_score > self.score_threshold).nonzero()[:, 0]
        by_score = passing[top_score[passing].argsort(descending=True, stable=True)]
        found = _Candidates.none(scores)
        for cells in by_score.split(self.max_candidates):
            is_full = len(found.scores) == self.max_candidates
            if is_full and found.scores[-1] >= top_score[cells[0]]:
                break
            quality, area = self._mask_quality(_soft_masks(kernels[cells], features))
            is_candidate = scores[cells] > self.score_threshold
            is_candidate &= (area > strides[cells])[:, None]
            row, label = is_candidate.nonzero(as_tuple=True)
            # A cell may pass with several categories; its mask was computed once.
            cell = cells[row]
            found = found.joined(
                _Candidates(cell, label, scores[cell, label] * quality[row]), self.max_candidates
            )
        return found.labels, found.scores, _soft_masks(kernels[found.cells], features)

    def _mask_quality(self, soft_masks: Tensor) -> tuple[Tensor, Tensor]:
        """(M, H, W) probabilities: their mean inside the mask, and its pixels; (M,) float32."""
        mask = soft_masks > self.mask_threshold
        area = mask.sum(dim=(1, 2), dtype=torch.float32)
        inside = (soft_masks * mask).sum(dim=(1, 2), dtype=torch.float32)
        return inside / area.clamp(min=1), area

    def _paste(
        self,
        soft_masks: Tensor,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> Tensor:
        """(n, H, W) probabilities to (n, *output_size) bool, a bounded piece at a time."""
        height, width = soft_masks.shape[-2:]
        # DIFFERS: AdelaiDet takes the stride from the image's height without padding, so a flat
        # image beside a tall one in a batch gets masks of a wrong scale. That is kept only for
        # `pastes_as_published`, to compare numbers; images alone in their batch give the same.
        stride = MASK_STRIDE
        if self.pastes_as_published:
            stride = math.ceil(image_size[0] / height)
        full_size = (height * stride, width * stride)
        pixels = max(math.prod(full_size), math.prod(output_size))
        pasted = []
        for piece in soft_masks[:, None].split(max(_PIECE_ELEMENTS // pixels, 1)):
            at_input = F.interpolate(piece, full_size, mode="bilinear", align_corners=False)
            at_input = at_input[..., : image_size[0], : image_size[1]]
            at_output = F.interpolate(at_input, output_size, mode="bilinear", align_corners=False)
            pasted.append(at_output[:, 0] > self.mask_threshold)
        return torch.cat(pasted) if pasted else soft_masks.new_zeros(0, *output_size).bool()


class _Candidates(NamedTuple):
    """Cells with a category, best first."""

    cells: Tensor  # (M,) int64
    labels: Tensor  # (M,) int64
    scores: Tensor  # (M,) float32

    @classmethod
    def none(cls, scores: Tensor) -> "_Candidates":
        """Zero candidates, on the device of the scores."""
        nothing = scores.new_zeros(0, dtype=torch.int64)
        return cls(nothing, nothing, scores.new_zeros(0))

    def joined(self, more: "_Candidates", limit: int) -> "_Candidates":
        """The best `limit` of both."""
        both = _Candidates(*map(torch.cat, zip(self, more, strict=True)))
        order = both.scores.argsort(descending=True, stable=True)[:limit]
        return _Candidates(*(values[order] for values in both))


def _soft_masks(kernels: Tensor, features: Tensor) -> Tensor:
    """(M, D) 1 x 1 kernels over (D, H, W) features: (M, H, W) probabilities."""
    return (kernels @ features.flatten(1)).sigmoid().unflatten(1, features.shape[1:])
