"""RTDETR: the model, from images to losses and results. N images, Q queries, K classes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.modeling import META_ARCH_REGISTRY, Backbone
from d2lite.modeling.meta_arch.detector import Batch, common_arguments
from d2lite.modeling.meta_arch.query_detector import QueryDetector
from d2lite.modeling.padded import images_of_rows, sizes_with_padding, take_rows
from d2lite.modeling.transformer import (
    Decoded,
    HybridEncoder,
    PairLosses,
    SetCriterion,
    SetMatcher,
    Targets,
    edge_steps,
)
from d2lite.structures import ImageList, Instances
from d2lite.utils.errors import ConfigError

from .fine_decoder import FineDecoder
from .mask_head import QueryMaskHead, regions_and_masks
from .published import follow_published_config
from .query_decoder import QueryDecoder


@META_ARCH_REGISTRY.register()
class RTDETR(QueryDetector):
    """Boxes of queries, without anchors and NMS: RT-DETR, RT-DETRv2 and D-FINE.

    Args:
        backbone: see `Detector`.
        encoder: maps of the backbone -> maps that have seen each other.
        decoder: encoded maps -> classes and boxes of queries.
        mask_head: predicts masks of queries; None for boxes alone.
        in_features: maps of the backbone that are used, finest first.
        **others: see `QueryDetector`.

    Source: Zhao 2023, arXiv:2304.08069; Lv 2024, arXiv:2407.17140; Peng 2024, arXiv:2410.13842.
    """

    compiled_parts = ("backbone", "encoder")

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        encoder: HybridEncoder,
        decoder: QueryDecoder,
        mask_head: QueryMaskHead | None = None,
        in_features: Sequence[str],
        **others: Any,
    ) -> None:
        super().__init__(backbone=backbone, **others)
        self.encoder, self.decoder, self.mask_head = encoder, decoder, mask_head
        self.in_features = list(in_features)
        strides = [backbone.output_shape()[name].stride for name in self.in_features]
        if strides != [strides[0] * 2**level for level in range(len(strides))]:
            raise ConfigError(
                f"MODEL.RTDETR.IN_FEATURES {self.in_features} have the strides {strides}; name "
                "maps from fine to coarse whose strides double."
            )
        # So that each map has exactly half the sides of the one before.
        self.size_divisibility = strides[-1]

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `TEST`."""
        follow_published_config(cfg)
        node = cfg.MODEL.RTDETR
        common = common_arguments(cfg)
        shapes = common["backbone"].output_shape()
        missing = [name for name in node.IN_FEATURES if name not in shapes]
        if missing or len(node.IN_FEATURES) != len(node.DECODER.POINTS):
            raise ConfigError(
                f"MODEL.RTDETR.IN_FEATURES is {node.IN_FEATURES}, and the backbone has the maps "
                f"{list(shapes)}. Name maps that it has, and as many numbers in "
                f"MODEL.RTDETR.DECODER.POINTS (found {node.DECODER.POINTS})."
            )
        encoder = HybridEncoder(
            [shapes[name].channels for name in node.IN_FEATURES],
            node.ENCODER.HIDDEN_DIM,
            heads=node.ENCODER.HEADS,
            hidden=node.ENCODER.FEEDFORWARD,
            attended=node.ENCODER.ATTENDED,
            layers=node.ENCODER.LAYERS,
            blocks=node.ENCODER.BLOCKS,
            expansion=node.ENCODER.EXPANSION,
            depth=node.ENCODER.DEPTH,
            norm=node.NORM,
            dropout=node.DROPOUT,
        )
        return {
            **common,
            "encoder": encoder,
            "decoder": _decoder(node),
            "criterion": _criterion(node),
            "mask_head": _mask_head(node, shapes) if cfg.MODEL.MASK_ON else None,
            "in_features": node.IN_FEATURES,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def decode(self, images: ImageList, targets: Targets | None = None) -> Decoded:
        """Predict; see `QueryDetector`."""
        features = self.backbone(images.tensor)
        maps = [features[name] for name in self.in_features]
        hidden = _hidden_cells(images, maps)
        encoded = self.encoder(maps, hidden)
        decoded: Decoded = self.decoder(encoded, hidden, targets)
        if self.mask_head is None:
            return decoded
        return decoded._replace(pixels=self.mask_head.pixels(encoded[0]))

    def pair_losses(
        self, decoded: Decoded, batched_inputs: Batch, truths: Sequence[Instances]
    ) -> PairLosses | None:
        """Losses of masks; see `QueryDetector`."""
        if self.mask_head is None or decoded.pixels is None:
            return None
        names = [str(item.get("file_name", "An image")) for item in batched_inputs]
        regions, truth = regions_and_masks(truths, names, self.mask_head.size)
        crops = self.mask_head.crop(decoded.pixels, regions)
        return partial(self.mask_head.losses, crops=crops, truth=truth)

    def masks_of(self, decoded: Decoded, queries: Tensor, boxes: Tensor) -> Tensor | None:
        """Probabilities in the boxes; see `QueryDetector`."""
        if self.mask_head is None or decoded.pixels is None or decoded.found.features is None:
            return None
        features = take_rows(decoded.found.features[-1], queries).flatten(0, 1)[:, None]
        crops = self.mask_head.crop(decoded.pixels, images_of_rows(boxes))
        side = self.mask_head.size
        probabilities: Tensor = self.mask_head(features.float(), crops).sigmoid()
        return probabilities.view(*queries.shape, 1, side, side)


def _hidden_cells(images: ImageList, maps: Sequence[Tensor]) -> list[Tensor] | None:
    """For each map (N, Hi, Wi) bool, True where a cell's centre is in the padding.

    None where no image is padded, which spares the masks.
    """
    sizes = sizes_with_padding(images)
    if sizes is None:
        return None
    padded = images.tensor.shape[-2:]
    hidden = []
    for level in maps:
        outside = []
        for axis, (cells, pixels) in enumerate(zip(level.shape[-2:], padded, strict=True)):
            centers = (torch.arange(cells, device=sizes.device) + 0.5) * (pixels / cells)
            # The first cell stays, so that even the smallest image has one.
            outside.append((centers >= sizes[:, axis, None]) & (centers > pixels / cells))
        hidden.append(outside[0][:, :, None] | outside[1][:, None])
    return hidden


def _decoder(node: CfgNode) -> QueryDecoder:
    part, noise = node.DECODER, node.DENOISING
    options: dict[str, Any] = {
        "num_queries": part.QUERIES,
        "channels": part.HIDDEN_DIM,
        "layers": part.LAYERS,
        "heads": part.HEADS,
        "hidden": part.FEEDFORWARD,
        "points": part.POINTS,
        "offset_scale": part.OFFSET_SCALE,
        "method": part.METHOD,
        "dropout": node.DROPOUT,
        "num_denoising": noise.QUERIES,
        "label_noise": noise.LABEL_NOISE,
        "box_noise": noise.BOX_NOISE,
        "norm": node.NORM,
    }
    in_channels = [node.ENCODER.HIDDEN_DIM] * len(node.IN_FEATURES)
    if _is_fine(node):
        options |= {
            "bins": part.BINS,
            "reach": part.REACH,
            "curvature": part.CURVATURE,
            "quality": part.QUALITY,
        }
        return FineDecoder(in_channels, node.NUM_CLASSES, **options)
    return QueryDecoder(in_channels, node.NUM_CLASSES, **options)


def _mask_head(node: CfgNode, shapes: Mapping[str, ShapeSpec]) -> QueryMaskHead:
    stride = shapes[node.IN_FEATURES[0]].stride
    assert stride is not None
    return QueryMaskHead(
        node.ENCODER.HIDDEN_DIM,
        node.DECODER.HIDDEN_DIM,
        stride,
        width=node.MASK.CHANNELS,
        size=node.MASK.SIZE,
        norm=node.NORM,
    )


def _criterion(node: CfgNode) -> SetCriterion:
    part, loss = node.DECODER, node.LOSS
    matcher = SetMatcher(
        node.MATCHER.CLASS_COST,
        node.MATCHER.BBOX_COST,
        node.MATCHER.GIOU_COST,
        alpha=node.MATCHER.ALPHA,
        gamma=node.MATCHER.GAMMA,
    )
    names = ("class", "bbox", "giou", "fgl", "ddf", "mask", "dice")
    return SetCriterion(
        node.NUM_CLASSES,
        matcher,
        {name: loss[f"{name.upper()}_WEIGHT"] for name in names},
        class_loss=loss.CLASS,
        alpha=loss.ALPHA,
        gamma=loss.GAMMA,
        steps=edge_steps(part.BINS, part.REACH, part.CURVATURE) if _is_fine(node) else None,
        curvature=part.CURVATURE,
        votes=_is_fine(node) and node.MATCHER.VOTES,
    )


def _is_fine(node: CfgNode) -> bool:
    kinds = ("rtdetr", "dfine")
    if node.DECODER.KIND not in kinds:
        raise ConfigError(
            f"MODEL.RTDETR.DECODER.KIND is {node.DECODER.KIND!r}; choose one of {', '.join(kinds)}."
        )
    return node.DECODER.KIND == "dfine"
