"""FineDecoder: the decoder of D-FINE, which predicts the edges of boxes as distributions.

N images, Q queries with those of denoising, S cells of all maps, C channels, B + 1 values of an
edge's distribution.

Source: Peng 2024 (D-FINE), arXiv:2410.13842.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.modeling.transformer import (
    MLP,
    Predictions,
    aux_endings,
    edge_steps,
    move_edges,
    refine_boxes,
)
from d2lite.modeling.weight_init import zero_fill

from .query_decoder import QueryDecoder

# Limit of what the boxes of queries add to them; published weights were trained with it.
_POSITION_LIMIT = 10.0


class EdgeQuality(nn.Module):
    """Changes the scores of a query by how sure it is of its edges.

    Args:
        top: so many of the greatest probabilities of an edge are looked at, and their mean.
        hidden: channels in the middle of the perceptron.
        layers: of the perceptron.
    """

    def __init__(self, top: int = 4, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.top = top
        self.reg_conf = MLP(4 * (top + 1), hidden, 1, layers)
        zero_fill(self.reg_conf.layers[-1])

    def forward(self, logits: Tensor, edges: Tensor) -> Tensor:
        """(N, Q, K) logits of classes and (N, Q, 4 * (B + 1)) of edges -> (N, Q, K)."""
        chances = edges.unflatten(-1, (4, -1)).softmax(dim=-1)
        best = chances.topk(self.top, dim=-1).values
        seen = torch.cat([best, best.mean(dim=-1, keepdim=True)], dim=-1)
        return logits + self.reg_conf(seen.flatten(-2).to(logits.dtype))


class FineDecoder(QueryDecoder):
    """Layers add to the distributions of a first box's edges; scores depend on their sharpness.

    Args:
        in_channels: see `QueryDecoder`.
        num_classes: likewise.
        bins: B, even.
        reach: see `edge_steps`.
        curvature: likewise.
        quality: of `EdgeQuality`: top, hidden and layers.
        options: further arguments of `QueryDecoder`.
    """

    is_gated = True
    has_projections = False
    always_projects_maps = False

    steps: Tensor

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        bins: int = 32,
        reach: float = 0.5,
        curvature: float = 4.0,
        quality: Sequence[int] = (4, 64, 2),
        **options: Any,
    ) -> None:
        self.num_bbox_outputs = 4 * (bins + 1)
        super().__init__(in_channels, num_classes, **options)
        self.curvature = curvature
        self.register_buffer("steps", edge_steps(bins, reach, curvature), persistent=False)
        stack = self.decoder["layers"]
        self.decoder["lqe_layers"] = nn.ModuleList(EdgeQuality(*quality) for _ in stack)
        channels = self.enc_score_head.in_features
        self.pre_bbox_head = MLP(channels, channels, 4, 3)
        zero_fill(self.pre_bbox_head.layers[-1])

    def _refine(
        self,
        queries: Tensor,
        boxes: Tensor,
        cells: Tensor,
        shapes: Sequence[tuple[int, int]],
        masked: Tensor | None,
        *,
        all_layers: bool,
    ) -> Predictions:
        logits, predicted, of_layers, features = [], [], [], []
        stack, qualities = self.decoder["layers"], self.decoder["lqe_layers"]
        before: Tensor | float = 0.0
        edges: Tensor | float = 0.0
        for number, layer in enumerate(stack):
            positions = self.query_pos_head(boxes).clamp(-_POSITION_LIMIT, _POSITION_LIMIT)
            queries = layer(queries, positions, boxes, cells, shapes, masked)
            if number == 0:
                first = refine_boxes(boxes, self.pre_bbox_head(queries))
                first_logits = self.dec_score_head[0](queries)
                start = first.detach()
            # What the layer before found goes in without a gradient.
            edges = self.dec_bbox_head[number](queries + before) + edges
            moved = move_edges(start, edges, self.steps, self.curvature)
            if all_layers or number == len(stack) - 1:
                scores = first_logits if number == 0 else self.dec_score_head[number](queries)
                logits.append(qualities[number](scores, edges))
                predicted.append(moved)
                of_layers.append(edges)
                features.append(queries)
            boxes, before = moved.detach(), queries.detach()
        endings = aux_endings(len(logits))
        if not all_layers:
            return Predictions(
                endings,
                torch.stack(logits),
                torch.stack(predicted),
                features=torch.stack(features),
            )
        return Predictions(
            [*endings, "_pre"],
            torch.stack([*logits, first_logits.to(logits[0].dtype)]),
            torch.stack([*predicted, first]),
            torch.stack(of_layers),
            start,
            torch.stack(features),
        )
