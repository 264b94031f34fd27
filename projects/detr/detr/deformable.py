"""DeformableDETR: queries look at a few places of several maps.

N images, L decoder layers, Q queries, S cells of all maps, C channels, K classes.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.modeling import META_ARCH_REGISTRY, Backbone
from d2lite.modeling.meta_arch.query_detector import QueryDetector
from d2lite.modeling.transformer import (
    MLP,
    Decoded,
    Memory,
    Predictions,
    Targets,
    aux_endings,
    inverse_sigmoid,
    place_logits,
    refine_boxes,
    sine_box_encoding,
)
from d2lite.modeling.weight_init import glorot_fill, prior_fill, zero_fill
from d2lite.structures import ImageList
from d2lite.utils.errors import ConfigError
from d2lite.utils.tracing import at_most

from .config import detector_arguments
from .deformable_transformer import DeformableTransformer
from .published import follow_published_config


class Start(NamedTuple):
    """What the decoder starts from.

    Attributes:
        queries: (N, Q, C).
        positions: (N, Q, C).
        reference: (N, Q, 2) places or (N, Q, 4) boxes.
        first: predictions of the encoder at all cells; None without.
    """

    queries: Tensor
    positions: Tensor
    reference: Tensor
    first: Predictions | None = None


@META_ARCH_REGISTRY.register()
class DeformableDETR(QueryDetector):
    """Boxes of queries; with refinement layer by layer, and with a first stage, as options.

    Args:
        backbone: see `Detector`.
        transformer: the encoder and the layers of the decoder.
        channels: C.
        levels: maps that the transformer sees.
        num_classes: K.
        num_queries: Q.
        in_features: maps of the backbone, finest first.
        box_refine: each layer moves the boxes of the layer before.
        two_stage: queries start at the cells of the best score; needs `box_refine`.
        deep_supervision: losses of all layers, not of the last alone.
        **others: see `QueryDetector`.

    Raises:
        ConfigError: for two stages without refinement, or for fewer maps than those in use.

    Source: Zhu 2020, arXiv:2010.04159.
    """

    has_boxes_of_images = True

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        transformer: DeformableTransformer,
        channels: int,
        levels: int,
        num_classes: int,
        num_queries: int,
        in_features: Sequence[str],
        box_refine: bool,
        two_stage: bool,
        deep_supervision: bool,
        **others: Any,
    ) -> None:
        super().__init__(backbone=backbone, **others)
        if two_stage and not box_refine:
            raise ConfigError("MODEL.DETR.TWO_STAGE needs MODEL.DETR.WITH_BOX_REFINE True.")
        self.num_classes, self.num_queries = num_classes, num_queries
        self.box_refine, self.two_stage = box_refine, two_stage
        self.deep_supervision = deep_supervision
        self.in_features = list(in_features)
        self.transformer = transformer
        widths = [backbone.output_shape()[name].channels for name in self.in_features]
        self.input_proj = _projections(widths, channels, levels)
        self.num_layers = len(transformer.decoder["layers"])  # type: ignore[arg-type]  # a ModuleList
        self._make_heads(channels)
        self._make_queries(channels)

    def _make_heads(self, channels: int) -> None:
        score_head = nn.Linear(channels, self.num_classes)
        # No class is likely at the start.
        prior_fill(score_head, 0.01)
        box_head = MLP(channels, channels, 4, 3)
        zero_fill(box_head.layers[-1])
        count = self.num_layers + self.two_stage
        if self.box_refine:
            self.class_embed = nn.ModuleList(copy.deepcopy(score_head) for _ in range(count))
            self.bbox_embed = nn.ModuleList(copy.deepcopy(box_head) for _ in range(count))
        else:
            # One head under the names of all layers, as in published weights.
            self.class_embed = nn.ModuleList([score_head] * count)
            self.bbox_embed = nn.ModuleList([box_head] * count)
        if not self.two_stage:
            with torch.no_grad():
                # Boxes start small.
                self.bbox_embed[0].layers[-1].bias[2:] = -2.0  # type: ignore[union-attr,index]  # an MLP

    def _make_queries(self, channels: int) -> None:
        if self.two_stage:
            self.transformer.enc_output = nn.Linear(channels, channels)
            self.transformer.enc_output_norm = nn.LayerNorm(channels)
            self.transformer.pos_trans = nn.Linear(2 * channels, 2 * channels)
            self.transformer.pos_trans_norm = nn.LayerNorm(2 * channels)
            linears = [self.transformer.enc_output, self.transformer.pos_trans]
        else:
            self.query_embed = nn.Embedding(self.num_queries, 2 * channels)
            self.transformer.reference_points = nn.Linear(channels, 2)
            linears = [self.transformer.reference_points]
            nn.init.zeros_(self.transformer.reference_points.bias)
        for linear in linears:
            nn.init.xavier_uniform_(linear.weight)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `TEST`."""
        follow_published_config(cfg)
        node = cfg.MODEL.DETR
        arguments = detector_arguments(cfg, is_softmax=False)
        shapes = arguments["backbone"].output_shape()
        missing = [name for name in node.IN_FEATURES if name not in shapes]
        if missing or len(node.IN_FEATURES) > node.NUM_FEATURE_LEVELS:
            raise ConfigError(
                f"MODEL.DETR.IN_FEATURES is {node.IN_FEATURES}, and the backbone has the maps "
                f"{list(shapes)}. Name maps that it has, and as many or more in "
                f"MODEL.DETR.NUM_FEATURE_LEVELS (found {node.NUM_FEATURE_LEVELS})."
            )
        transformer = DeformableTransformer(
            node.HIDDEN_DIM,
            node.NUM_FEATURE_LEVELS,
            heads=node.NHEADS,
            hidden=node.DIM_FEEDFORWARD,
            encoder_layers=node.ENC_LAYERS,
            decoder_layers=node.DEC_LAYERS,
            encoder_points=node.ENC_POINTS,
            decoder_points=node.DEC_POINTS,
            dropout=node.DROPOUT,
            temperature=arguments.pop("temperature"),
            offset=arguments.pop("offset"),
        )
        return {
            **arguments,
            "transformer": transformer,
            "channels": node.HIDDEN_DIM,
            "levels": node.NUM_FEATURE_LEVELS,
            "box_refine": node.WITH_BOX_REFINE,
            "two_stage": node.TWO_STAGE,
        }

    def decode(self, images: ImageList, targets: Targets | None = None) -> Decoded:
        """Predict; see `QueryDetector`."""
        memory = self.encode(images)
        start = self._start(memory)
        queries, reference = start.queries, start.reference
        logits, predicted = [], []
        is_deep = targets is not None and self.deep_supervision
        for number in range(self.num_layers):
            queries = self.transformer.decode_layer(
                number, queries, start.positions, reference, memory
            )
            is_wanted = is_deep or number == self.num_layers - 1
            if is_wanted or self.box_refine:
                boxes = _moved(reference, self.bbox_embed[number](queries))
            if is_wanted:
                logits.append(self.class_embed[number](queries))
                predicted.append(boxes)
            if self.box_refine:
                reference = boxes.detach()
        found = Predictions(aux_endings(len(logits)), torch.stack(logits), torch.stack(predicted))
        return Decoded(found, first=start.first)

    def encode(self, images: ImageList) -> Memory:
        """The encoded maps of images."""
        features = self.backbone(images.tensor)
        maps: list[Tensor] = []
        last = features[self.in_features[-1]]
        for number, project in enumerate(self.input_proj):
            if number < len(self.in_features):
                maps.append(project(features[self.in_features[number]]))
            else:
                last = project(last)
                maps.append(last)
        memory: Memory = self.transformer(maps, images)
        return memory

    def _start(self, memory: Memory) -> Start:
        if self.two_stage:
            return self._start_at_cells(memory)
        embedded = self.query_embed.weight.expand(memory.cells.shape[0], -1, -1)
        positions, queries = _halves(embedded)
        # In float32 also under mixed precision: bfloat16 has steps of several pixels.
        places: Any = self.transformer.reference_points
        return Start(queries, positions, places(positions).float().sigmoid())

    def _first_features(self, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """(N, S, C) features that first boxes are read from; and what `Memory.cell_boxes` gives."""
        transformer: Any = self.transformer
        start, usable = memory.cell_boxes()
        cells = memory.cells * usable[:, :, None].to(memory.cells.dtype)
        return transformer.enc_output_norm(transformer.enc_output(cells)), start, usable

    def _start_at_cells(self, memory: Memory) -> Start:
        transformer: Any = self.transformer
        features, start, usable = self._first_features(memory)
        logits = self.class_embed[-1](features)
        boxes = (place_logits(start, usable) + self.bbox_embed[-1](features)).sigmoid()
        scores = logits.detach()[..., 0].masked_fill(~usable, -math.inf)
        chosen = scores.topk(at_most(self.num_queries, scores.shape[1]), dim=1).indices
        reference = boxes.detach().gather(1, chosen[:, :, None].expand(-1, -1, 4))
        waves = sine_box_encoding(reference, features.shape[2] // 2).to(memory.cells.dtype)
        both = transformer.pos_trans_norm(transformer.pos_trans(waves))
        positions, queries = _halves(both)
        return Start(
            queries, positions, reference, Predictions(["_enc"], logits[None], boxes[None])
        )


def _halves(rows: Tensor) -> list[Tensor]:
    """(N, Q, 2 * C) -> two of (N, Q, C), copied, since an export asks for the strides of parts."""
    return [part.contiguous() for part in rows.chunk(2, dim=-1)]


def _moved(reference: Tensor, changes: Tensor) -> Tensor:
    """Boxes (N, Q, 4) of places (N, Q, 2) or boxes (N, Q, 4), and what a layer predicts."""
    if reference.shape[-1] == 4:
        return refine_boxes(reference, changes)
    centers, sides = changes.to(reference.dtype).split(2, dim=-1)
    return torch.cat([inverse_sigmoid(reference) + centers, sides], dim=-1).sigmoid()


def _projections(widths: Sequence[int], channels: int, levels: int) -> nn.ModuleList:
    """One for each map of the backbone, and more that halve the last one again and again."""
    layers = [nn.Conv2d(width, channels, 1) for width in widths]
    while len(layers) < levels:
        width = widths[-1] if len(layers) == len(widths) else channels
        layers.append(nn.Conv2d(width, channels, 3, stride=2, padding=1))
    for layer in layers:
        glorot_fill(layer)
    # 32 groups, but in narrow models of two channels or more: torch refuses a map of one cell
    # otherwise.
    groups = math.gcd(32, channels // 2)
    return nn.ModuleList(nn.Sequential(layer, nn.GroupNorm(groups, channels)) for layer in layers)
