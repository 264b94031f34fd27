"""SOLOv2: every cell of a grid predicts a category and the kernel that computes its mask.

N images, L levels, R cells of all levels, C categories, D numbers of a kernel (channels of the
mask features), H x W pixels of the mask features, P positive (cell, instance) pairs of an image.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from d2lite.config import CfgNode, configurable
from d2lite.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from d2lite.modeling.dense_predictions import cells_first
from d2lite.modeling.meta_arch.detector import Batch, Detector, output_sizes
from d2lite.structures import BitMasks, Instances
from d2lite.utils.events import log_scalars
from d2lite.utils.process_means import mean_over_processes, mean_weight, own_share

from .config import check_solov2_config
from .inference import MASK_STRIDE, InstanceDecoder
from .instance_head import InstanceHead
from .losses import category_loss, dice_loss
from .mask_head import MaskHead
from .matrix_nms import point_nms
from .padded import decode_padded
from .targets import assign_cells, shrink_masks


@META_ARCH_REGISTRY.register()
class SOLOv2(Detector):
    """Instance segmentation by locations.

    Source: Wang et al., NeurIPS 2020, arXiv:2003.10152.
    """

    predicts = frozenset({"instances"})
    compiled_parts = ("backbone", "ins_head", "mask_head")

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        ins_head: InstanceHead,
        mask_head: MaskHead,
        decoder: InstanceDecoder,
        instance_in_features: Sequence[str],
        mask_in_features: Sequence[str],
        num_classes: int,
        strides: Sequence[int],
        scale_ranges: Sequence[tuple[float, float]],
        sigma: float,
        dice_weight: float,
        focal_weight: float,
        focal_alpha: float,
        focal_gamma: float,
        sees_mirrored: bool = False,
    ) -> None:
        """Assemble the model.

        Args:
            backbone: images -> feature pyramid.
            pixel_mean: of each channel.
            pixel_std: of each channel.
            ins_head: categories and kernels of every cell.
            mask_head: the mask features.
            decoder: predictions of one image -> Instances.
            instance_in_features: pyramid levels of the instance head, finest first.
            mask_in_features: pyramid levels of the mask branch, finest first.
            num_classes: C.
            strides: of each level's cells, below which a mask counts as noise.
            scale_ranges: object sizes, sqrt(w * h) in pixels, that each level learns.
            sigma: share of an object's box whose cells learn it.
            dice_weight: of the mask loss.
            focal_weight: of the category loss.
            focal_alpha: of the focal loss.
            focal_gamma: of the focal loss.
            sees_mirrored: predict from each image and its mirror image together.
        """
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.ins_head = ins_head
        self.mask_head = mask_head
        self.decoder = decoder
        self.instance_in_features = list(instance_in_features)
        self.mask_in_features = list(mask_in_features)
        self.num_classes = num_classes
        self.strides = list(strides)
        self.scale_ranges = list(scale_ranges)
        self.sigma = sigma
        self.dice_weight = dice_weight
        self.focal_weight = focal_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.sees_mirrored = sees_mirrored

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `MODEL.SOLOV2`."""
        solo = cfg.MODEL.SOLOV2
        backbone = build_backbone(cfg)
        check_solov2_config(cfg, backbone.output_shape())
        return {
            "backbone": backbone,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "ins_head": InstanceHead(
                in_channels=solo.INSTANCE_IN_CHANNELS,
                channels=solo.INSTANCE_CHANNELS,
                num_convs=solo.NUM_INSTANCE_CONVS,
                num_classes=solo.NUM_CLASSES,
                num_kernels=solo.NUM_KERNELS,
                num_grids=solo.NUM_GRIDS,
                norm=solo.NORM,
                prior_prob=solo.PRIOR_PROB,
                use_coords=solo.USE_COORD_CONV,
                deform=solo.TYPE_DCN if solo.USE_DCN_IN_INSTANCE else "",
                init=solo.CONV_INIT,
            ),
            "mask_head": MaskHead(
                num_levels=len(solo.MASK_IN_FEATURES),
                in_channels=solo.MASK_IN_CHANNELS,
                channels=solo.MASK_CHANNELS,
                num_masks=solo.NUM_MASKS,
                norm=solo.NORM,
                init=solo.CONV_INIT,
            ),
            "decoder": InstanceDecoder(
                score_threshold=solo.SCORE_THR,
                mask_threshold=solo.MASK_THR,
                update_threshold=solo.UPDATE_THR,
                max_candidates=solo.NMS_PRE,
                max_per_image=solo.MAX_PER_IMG,
                nms_type=solo.NMS_TYPE,
                nms_kernel=solo.NMS_KERNEL,
                nms_sigma=solo.NMS_SIGMA,
                pastes_as_published=solo.PASTE_AS_PUBLISHED,
            ),
            "instance_in_features": solo.INSTANCE_IN_FEATURES,
            "mask_in_features": solo.MASK_IN_FEATURES,
            "num_classes": solo.NUM_CLASSES,
            "strides": solo.FPN_INSTANCE_STRIDES,
            "scale_ranges": solo.FPN_SCALE_RANGES,
            "sigma": solo.SIGMA,
            "dice_weight": solo.LOSS.DICE_WEIGHT,
            "focal_weight": solo.LOSS.FOCAL_WEIGHT,
            "focal_alpha": solo.LOSS.FOCAL_ALPHA,
            "focal_gamma": solo.LOSS.FOCAL_GAMMA,
            "sees_mirrored": solo.TEST_FLIP,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_ins` (dice on masks) and `loss_cate` (focal on categories)."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        categories, kernels, features = self._heads(images.tensor)
        height, width = features.shape[-2:]
        padded_size = (height * MASK_STRIDE, width * MASK_STRIDE)
        labels, dice_losses = [], []
        num_positive_cells = features.new_zeros((), dtype=torch.float32)
        for image_kernels, image_features, instances in zip(kernels, features, truth, strict=True):
            masks = _bitmaps(instances)
            targets = assign_cells(
                instances.gt_boxes.tensor,
                instances.gt_classes,
                masks,
                padded_size=padded_size,
                num_grids=self.ins_head.num_grids,
                scale_ranges=self.scale_ranges,
                sigma=self.sigma,
                num_classes=self.num_classes,
            )
            labels.append(targets.labels)
            # A cell of two objects counts once here, though it learns both masks.
            num_positive_cells = num_positive_cells + (targets.labels != self.num_classes).sum()
            small = shrink_masks(masks, MASK_STRIDE)[:, :height, :width]
            small = F.pad(small, (0, width - small.shape[2], 0, height - small.shape[1]))
            # One product for all positive cells of the image, whatever their level.
            logits = image_kernels[targets.cells] @ image_features.flatten(1)
            logits = logits.unflatten(1, (height, width))
            dice_losses.append(dice_loss(logits, small, targets.instances))
        dice = torch.cat(dice_losses)
        focal = category_loss(
            categories.flatten(0, 1),
            torch.cat(labels),
            alpha=self.focal_alpha,
            gamma=self.focal_gamma,
        )
        log_scalars({"solov2/num_positive_cells": num_positive_cells})
        # In a batch without objects only this gives these parameters a gradient. It sums no
        # element, since zero times a sum that overflows float16 is NaN.
        reach = features.flatten()[:0].sum() + kernels.flatten()[:0].sum()
        mean_dice = dice.sum() / max(len(dice), 1) * mean_weight(len(dice), dice)
        normalizer = mean_over_processes(num_positive_cells) + own_share()
        return {
            "loss_ins": self.dice_weight * (mean_dice + reach),
            "loss_cate": self.focal_weight * focal / normalizer,
        }

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"instances": Instances with masks} of each image, in pixels of `height` and `width`."""
        images = self.preprocess_image(batched_inputs)
        categories, kernels, features = self._heads(images.tensor, suppress_points=True)
        strides = self._stride_of_cells(kernels)
        sizes = output_sizes(batched_inputs, images.image_sizes)
        return [
            {
                "instances": self.decoder(
                    categories[i],
                    kernels[i],
                    features[i],
                    strides,
                    image_size=images.image_sizes[i],
                    output_size=size,
                )
            }
            for i, size in enumerate(sizes)
        ]

    @property
    def soft_mask_threshold(self) -> float:  # type: ignore[override]  # of probabilities
        """See `Detector`."""
        return self.decoder.mask_threshold

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded` and `decode_padded`."""
        categories, kernels, features = self._heads(images, suppress_points=True)
        strides = self._stride_of_cells(kernels)
        return decode_padded(self.decoder, categories, kernels, features, strides)

    def _stride_of_cells(self, like: Tensor) -> Tensor:
        """(R,) float32."""
        return torch.cat(
            [
                like.new_full((num_grid**2,), stride, dtype=torch.float32)
                for num_grid, stride in zip(self.ins_head.num_grids, self.strides, strict=True)
            ]
        )

    def _heads(
        self, images: Tensor, *, suppress_points: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Categories (N, R, C), kernels (N, R, D) and mask features (N, D, H, W).

        Categories are logits, or with `suppress_points` probabilities after points NMS; then,
        where the model sees images mirrored too, D is doubled.
        """
        categories, kernels, features = self._maps(images)
        if suppress_points:
            categories = [level.sigmoid() for level in categories]
            if self.sees_mirrored:
                mirrored = self._maps(images.flip(-1))
                # A grid covers the whole padded image, so that each cell has a mirrored one.
                categories = [
                    (level + twin.sigmoid().flip(-1)) / 2
                    for level, twin in zip(categories, mirrored[0], strict=True)
                ]
                # One product of twice as many channels gives the mean of both masks' logits.
                kernels = [
                    torch.cat([level, twin.flip(-1)], dim=1) / 2
                    for level, twin in zip(kernels, mirrored[1], strict=True)
                ]
                features = torch.cat([features, mirrored[2].flip(-1)], dim=1)
            categories = [point_nms(level) for level in categories]
        return cells_first(categories), cells_first(kernels), features

    def _maps(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Category logits and kernels of every level, (N, K, S, S) each, and mask features."""
        pyramid = self.backbone(images)
        levels = _even_sizes([pyramid[name] for name in self.instance_in_features])
        categories, kernels = self.ins_head(levels)
        return (
            categories,
            kernels,
            self.mask_head([pyramid[name] for name in self.mask_in_features]),
        )


def _even_sizes(levels: list[Tensor]) -> list[Tensor]:
    """Halve the finest level and bring the coarsest to the size of the one before it."""

    def resized(x: Tensor, **size: Any) -> Tensor:
        return F.interpolate(x, mode="bilinear", align_corners=False, **size)

    first, *middle, last = levels
    neighbour = middle[-1] if middle else first
    return [
        resized(first, scale_factor=0.5, recompute_scale_factor=True),
        *middle,
        resized(last, size=neighbour.shape[-2:]),
    ]


def _bitmaps(instances: Instances) -> Tensor:
    """(n, height, width) bool masks of the truth, whatever INPUT.MASK_FORMAT is."""
    masks = BitMasks.of(instances.gt_masks, *instances.image_size)
    return masks.tensor.to(instances.gt_boxes.device)
