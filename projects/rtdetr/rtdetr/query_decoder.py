"""QueryDecoder: chooses cells of the encoded maps as queries, and refines them layer by layer.

N images, S cells of all maps, Q queries, D denoising queries before them, C channels, K classes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from d2lite.layers.batch_norm import Norm
from d2lite.modeling.transformer import (
    MLP,
    BoxAttention,
    ConvNorm,
    Decoded,
    DecoderLayer,
    Predictions,
    aux_endings,
    cell_boxes,
    choose_cells,
    denoising_queries,
    inverse_sigmoid,
    refine_boxes,
    split_denoising,
    usable_cells,
)
from d2lite.modeling.weight_init import prior_fill, zero_fill


class QueryDecoder(nn.Module):
    """The decoder of RT-DETR, v1 and v2; see `FineDecoder` for that of D-FINE.

    Args:
        in_channels: of the encoded maps, finest first.
        num_classes: K.
        num_queries: Q.
        channels: C.
        layers: how many.
        heads: of each attention.
        hidden: channels in the middle of the perceptrons.
        points: see `BoxAttention`.
        offset_scale: likewise.
        method: likewise.
        dropout: rate.
        num_denoising: see `denoising_queries`; 0 for none.
        label_noise: likewise.
        box_noise: likewise.
        norm: a name or callable for `get_norm`, after the projections of the maps.

    Source: Zhao 2023, arXiv:2304.08069; Lv 2024, arXiv:2407.17140.
    """

    # What differs in the decoder of D-FINE.
    is_gated = False
    has_projections = True
    always_projects_maps = True
    num_bbox_outputs = 4

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        num_queries: int = 300,
        channels: int = 256,
        layers: int = 6,
        heads: int = 8,
        hidden: int = 1024,
        points: Sequence[int] = (4, 4, 4),
        offset_scale: float = 0.5,
        method: str = "default",
        dropout: float = 0.0,
        num_denoising: int = 100,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
        norm: Norm = "BN",
    ) -> None:
        super().__init__()
        self.num_classes, self.num_queries = num_classes, num_queries
        self.num_denoising = num_denoising
        self.label_noise, self.box_noise = label_noise, box_noise
        self.input_proj = nn.ModuleList(
            ConvNorm(own, channels, 1, norm=norm, activation=None)
            if self.always_projects_maps or own != channels
            else nn.Identity()
            for own in in_channels
        )
        stack = [
            DecoderLayer(
                channels,
                heads,
                hidden,
                BoxAttention(
                    channels,
                    heads,
                    points,
                    offset_scale=offset_scale,
                    method=method,
                    has_projections=self.has_projections,
                ),
                is_gated=self.is_gated,
                dropout=dropout,
            )
            for _ in range(layers)
        ]
        self.decoder = nn.ModuleDict({"layers": nn.ModuleList(stack)})
        # One row more than classes, as published weights have it; it is of no class.
        self.denoising_class_embed = (
            nn.Embedding(num_classes + 1, channels) if num_denoising > 0 else None
        )
        self.query_pos_head = MLP(4, 2 * channels, channels, 2)
        self.enc_output = nn.ModuleDict(
            {"proj": nn.Linear(channels, channels), "norm": nn.LayerNorm(channels)}
        )
        self.enc_score_head = nn.Linear(channels, num_classes)
        self.enc_bbox_head = MLP(channels, channels, 4, 3)
        self.dec_score_head = nn.ModuleList(nn.Linear(channels, num_classes) for _ in stack)
        self.dec_bbox_head = nn.ModuleList(
            MLP(channels, channels, self.num_bbox_outputs, 3) for _ in stack
        )
        for score_head in (self.enc_score_head, *self.dec_score_head):
            # No class is likely at the start.
            prior_fill(score_head, 0.01)
        for bbox_head in (self.enc_bbox_head, *self.dec_bbox_head):
            zero_fill(bbox_head.layers[-1])
        for linear in (self.enc_output["proj"], *self.query_pos_head.layers):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self,
        maps: Sequence[Tensor],
        hidden: Sequence[Tensor] | None = None,
        targets: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> Decoded:
        """Decode.

        Args:
            maps: (N, in_channels, Hi, Wi), finest first.
            hidden: for each map (N, Hi, Wi) bool, True for cells of the padding.
            targets: for each image labels and boxes, to draw denoising queries; None to predict,
                which takes the last layer alone.
        """
        shapes = [(level.shape[-2], level.shape[-1]) for level in maps]
        cells = torch.cat(
            [
                project(level).flatten(2).transpose(1, 2)
                for project, level in zip(self.input_proj, maps, strict=True)
            ],
            dim=1,
        )
        features, first_logits, first_boxes = self._choose(cells, shapes, hidden)
        noise = None
        # Queries start without a gradient, so that layers are trained one after the other.
        queries, boxes = features.detach(), first_boxes.detach()
        if targets is not None and self.denoising_class_embed is not None:
            noise = denoising_queries(
                targets,
                self.num_classes,
                queries.shape[1],
                self.num_denoising,
                label_noise=self.label_noise,
                box_noise=self.box_noise,
            )
            labels = self.denoising_class_embed(noise.labels)
            queries = torch.cat([labels.to(queries.dtype), queries], dim=1)
            # Published code computes the boxes of the noise through their logits as well.
            boxes = torch.cat([inverse_sigmoid(noise.boxes).sigmoid(), boxes], dim=1)
        masked = None if noise is None else noise.hidden
        all_layers = targets is not None
        found = self._refine(queries, boxes, cells, shapes, masked, all_layers=all_layers)
        if not all_layers:
            return Decoded(found)
        return split_denoising(found, noise, (first_logits, first_boxes))

    def _choose(
        self,
        cells: Tensor,
        shapes: Sequence[tuple[int, int]],
        hidden: Sequence[Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, Q, C), logits (N, Q, K) and boxes (N, Q, 4) of the cells of best score.

        Q is that of the model, or the number of cells where there are fewer.
        """
        start = cell_boxes(shapes, cells.device)
        mask = None if hidden is None else torch.cat([part.flatten(1) for part in hidden], dim=1)
        usable = usable_cells(start, mask).expand(cells.shape[0], -1)
        cells = cells * usable[:, :, None].to(cells.dtype)
        features = self.enc_output["norm"](self.enc_output["proj"](cells))
        return choose_cells(
            features, start, usable, self.num_queries, self.enc_score_head, self.enc_bbox_head
        )

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
        """The predictions of all layers, or of the last.

        Args:
            queries: (N, D + Q, C).
            boxes: (N, D + Q, 4) that they start from.
            cells: (N, S, C).
            shapes: (height, width) of each map.
            masked: see `DecoderLayer`.
            all_layers: also predict from other layers than the last.
        """
        logits, predicted, features = [], [], []
        refined = boxes
        stack = self.decoder["layers"]
        for number, layer in enumerate(stack):
            queries = layer(queries, self.query_pos_head(boxes), boxes, cells, shapes, masked)
            change = self.dec_bbox_head[number](queries)
            if all_layers or number == len(stack) - 1:
                # The gradient reaches the layer before through the boxes that it moved.
                predicted.append(refine_boxes(refined, change))
                logits.append(self.dec_score_head[number](queries))
                features.append(queries)
            refined = refine_boxes(boxes, change)
            boxes = refined.detach()
        return Predictions(
            aux_endings(len(logits)),
            torch.stack(logits),
            torch.stack(predicted),
            features=torch.stack(features),
        )
