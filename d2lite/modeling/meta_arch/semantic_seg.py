"""A class for every pixel: the semantic head on a pyramid, and the model that is only that.

N images, K classes, H x W pixels of the padded network input, s the common stride.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.structures import ImageList
from d2lite.utils.errors import ArgumentError, ConfigError
from d2lite.utils.process_means import mean_weight, padded_alike
from d2lite.utils.registry import Registry

from ..backbone import Backbone
from ..backbone.backbone import check_maps
from ..postprocessing import sem_seg_postprocess
from ..weight_init import conv_relu, msra_fill
from .build import META_ARCH_REGISTRY
from .detector import Batch, Detector, common_arguments, output_sizes

__all__ = [
    "SEM_SEG_HEADS_REGISTRY",
    "SemSegFPNHead",
    "SemanticSegmentor",
    "build_sem_seg_head",
]


SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS", reserved=("SemSegFPNHead",))
SEM_SEG_HEADS_REGISTRY.__doc__ = """
Semantic heads by name: callables of (cfg, input_shape), chosen by `MODEL.SEM_SEG_HEAD.NAME`. The
module turns feature maps and, in training, maps of labels into (class scores, losses).
"""


def build_sem_seg_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Make the head that `MODEL.SEM_SEG_HEAD.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps of the backbone, by name.

    Raises:
        UnknownNameError: if nothing is registered under the name.
    """
    return SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)(cfg, input_shape)


class SemSegHead(nn.Module):
    """A head that scores the cells of the common stride; a subclass has `layers` and `losses`.

    Attributes:
        common_stride: s.
    """

    common_stride: int

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Score the classes of each pixel, or compare with the truth in training.

        Args:
            features: maps by name.
            targets: (N, H, W) int64 labels; needed in training.

        Returns:
            in training None and the losses, otherwise (N, K, H, W) float scores and {}.

        Raises:
            ArgumentError: in training without targets.
        """
        scores = self.layers(features)
        if not self.training:
            return self._to_full_size(scores), {}
        if targets is None:
            raise ArgumentError("In training the semantic head needs targets, the maps of labels.")
        return None, self.losses(scores, targets)

    def layers(self, features: dict[str, Tensor]) -> Any:
        """Maps by name -> (N, K, H / s, W / s) scores."""
        raise NotImplementedError

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Losses by name, of (N, K, H / s, W / s) scores and (N, H, W) int64 labels."""
        raise NotImplementedError

    def _to_full_size(self, scores: Tensor) -> Tensor:
        return F.interpolate(
            scores, scale_factor=self.common_stride, mode="bilinear", align_corners=False
        )


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNHead(SemSegHead):
    """Bring every level to one stride, add them up, and score the classes there.

    A level of stride 2^n times the common one goes through n steps of convolution and doubling.

    Args:
        input_shape: the feature maps that are used, by name; strides are the common one times
            a power of two.
        num_classes: K.
        conv_dims: channels of the sum.
        common_stride: s, in pixels of the network input.
        loss_weight: factor on the loss.
        norm: a name or callable for `get_norm` after each convolution.
        ignore_value: pixels of this label enter no loss.

    Raises:
        ArgumentError: without a feature map.
        ConfigError: for a level finer than the common stride, or between two doublings.

    Source: Kirillov 2019, arXiv:1901.02446, figure 3.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        common_stride: int,
        loss_weight: float = 1.0,
        norm: Norm = None,
        ignore_value: int = -1,
    ) -> None:
        super().__init__()
        if not input_shape:
            raise ArgumentError(
                "A semantic head needs feature maps (MODEL.SEM_SEG_HEAD.IN_FEATURES)."
            )
        self.in_features = sorted(input_shape, key=lambda name: input_shape[name].stride)
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.ignore_value = ignore_value
        for name in self.in_features:
            shape = input_shape[name]
            doublings = self._count_doublings(name, shape.stride)
            self.add_module(name, self._make_branch(shape.channels, conv_dims, norm, doublings))
        self.predictor = Conv2d(conv_dims, num_classes, 1)
        msra_fill(self.predictor)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.SEM_SEG_HEAD`."""
        node = cfg.MODEL.SEM_SEG_HEAD
        used = {name: shape for name, shape in input_shape.items() if name in node.IN_FEATURES}
        key = "MODEL.SEM_SEG_HEAD.IN_FEATURES"
        check_maps("the backbone", node.IN_FEATURES, list(input_shape), key)
        return {
            "input_shape": used,
            "num_classes": node.NUM_CLASSES,
            "conv_dims": node.CONVS_DIM,
            "common_stride": node.COMMON_STRIDE,
            "loss_weight": node.LOSS_WEIGHT,
            "norm": node.NORM,
            "ignore_value": node.IGNORE_VALUE,
        }

    def _count_doublings(self, name: str, stride: int) -> int:
        doublings = math.log2(stride / self.common_stride)
        if doublings < 0 or not doublings.is_integer():
            raise ConfigError(
                f"The semantic head cannot bring {name!r} of stride {stride} to the common stride "
                f"{self.common_stride} by doubling. Change MODEL.SEM_SEG_HEAD.COMMON_STRIDE, or "
                "leave the map out of MODEL.SEM_SEG_HEAD.IN_FEATURES."
            )
        return int(doublings)

    @staticmethod
    def _make_branch(in_channels: int, channels: int, norm: Norm, doublings: int) -> nn.Sequential:
        steps: list[nn.Module] = []
        # The finest level is convolved once too, for its channels to become those of the sum.
        for _ in range(max(doublings, 1)):
            conv = conv_relu(in_channels, channels, norm)
            msra_fill(conv)
            steps.append(conv)
            if doublings:
                steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            in_channels = channels
        return nn.Sequential(*steps)

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Maps by name -> (N, K, H / s, W / s) scores."""
        first, *others = (getattr(self, name)(features[name]) for name in self.in_features)
        total = first
        for branch in others:
            total = total + branch
        return self.predictor(total)

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy of scores and labels, averaged over the pixels that have a label.

        Args:
            predictions: (N, K, H / s, W / s) float scores.
            targets: (N, H, W) int64 labels.

        Returns:
            `loss_sem_seg`; 0 where every pixel is to be ignored.
        """
        # In half precision the sum over a million pixels overflows.
        scores = self._to_full_size(predictions.float())
        total = F.cross_entropy(scores, targets, ignore_index=self.ignore_value, reduction="sum")
        # DIFFERS: a batch without any label gives 0, where the mean of nothing gave NaN.
        num_labelled = (targets != self.ignore_value).sum()
        share = mean_weight(num_labelled, total)
        return {"loss_sem_seg": total / num_labelled.clamp(min=1) * self.loss_weight * share}


def batch_label_maps(maps: Sequence[Tensor], backbone: Backbone, ignore_value: int) -> Tensor:
    """Pad maps of labels as the images of the same batch were padded.

    Args:
        maps: (H_i, W_i) integer labels of each image.
        backbone: images were padded to the sizes that it demands.
        ignore_value: the label of padding.

    Returns:
        (N, H, W) int64.
    """
    # int64 before padding: uint8 cannot hold -1.
    padded = ImageList.from_tensors(
        [labels.long() for labels in maps],
        backbone.size_divisibility,
        ignore_value,
        backbone.padding_constraints,
    )
    return padded_alike(padded.tensor, ignore_value)


@META_ARCH_REGISTRY.register()
class SemanticSegmentor(Detector):
    """A class for every pixel. For the batch see `Detector`; the ground truth is `sem_seg`.

    `sem_seg` is (H_i, W_i), integer labels of the pixels of `image`.

    Args:
        backbone: images -> feature maps.
        sem_seg_head: maps -> class scores of each pixel, and losses.
        pixel_mean: of each channel.
        pixel_std: of each channel.
    """

    predicts = frozenset({"sem_seg"})

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: Any,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.sem_seg_head = sem_seg_head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL`."""
        common = common_arguments(cfg)
        maps = common["backbone"].output_shape()
        return {**common, "sem_seg_head": build_sem_seg_head(cfg, maps)}

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Losses of the head, by name."""
        images = self.preprocess_image(batched_inputs)
        maps = self.truth_of(batched_inputs, "sem_seg")
        targets = batch_label_maps(maps, self.backbone, self.sem_seg_head.ignore_value)
        return self.sem_seg_head(self.backbone(images.tensor), targets)[1]

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`."""
        return {"sem_seg": self.sem_seg_head(self.backbone(images), None)[0]}

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"sem_seg": (K, height, width) class scores} of each image."""
        images = self.preprocess_image(batched_inputs)
        scores, _ = self.sem_seg_head(self.backbone(images.tensor), None)
        sizes = output_sizes(batched_inputs, images.image_sizes)
        return [
            {"sem_seg": sem_seg_postprocess(result, seen, *wanted)}
            for result, seen, wanted in zip(scores, images.image_sizes, sizes, strict=True)
        ]
