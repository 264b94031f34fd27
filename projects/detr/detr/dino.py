"""DINO: Deformable DETR with queries of two sources, denoising, and boxes that look forward twice.

N images, L decoder layers, Q queries, D denoising queries before them, C channels, K classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.transformer import (
    MLP,
    Decoded,
    Memory,
    Predictions,
    Targets,
    aux_endings,
    choose_cells,
    denoising_queries,
    inverse_sigmoid,
    refine_boxes,
    sine_box_encoding,
    split_denoising,
)
from d2lite.structures import ImageList

from .deformable import DeformableDETR


@META_ARCH_REGISTRY.register()
class DINO(DeformableDETR):
    """Boxes of queries whose contents are learned and whose first boxes are chosen.

    Args:
        num_denoising: see `denoising_queries`; 0 for none.
        label_noise: likewise.
        box_noise: likewise.
        options: further arguments of `DeformableDETR`.

    Source: Zhang 2022, arXiv:2203.03605.
    """

    @configurable
    def __init__(
        self,
        *,
        num_denoising: int = 100,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
        **options: Any,
    ) -> None:
        self.num_denoising = num_denoising
        self.label_noise, self.box_noise = label_noise, box_noise
        super().__init__(**options)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `TEST`."""
        noise = cfg.MODEL.DETR.DENOISING
        return {
            **super().from_config(cfg),
            "box_refine": True,
            "two_stage": True,
            "num_denoising": noise.QUERIES,
            "label_noise": noise.LABEL_NOISE,
            "box_noise": noise.BOX_NOISE,
        }

    def _make_queries(self, channels: int) -> None:
        transformer = self.transformer
        transformer.enc_output = nn.Linear(channels, channels)
        transformer.enc_output_norm = nn.LayerNorm(channels)
        transformer.tgt_embed = nn.Embedding(self.num_queries, channels)
        transformer.decoder["norm"] = nn.LayerNorm(channels)
        transformer.decoder["ref_point_head"] = MLP(2 * channels, channels, channels, 2)
        positions: Any = transformer.decoder["ref_point_head"]
        for linear in (*positions.layers, transformer.enc_output):
            nn.init.xavier_uniform_(linear.weight)
        if self.num_denoising > 0:
            self.label_enc = nn.Embedding(self.num_classes, channels)

    def decode(self, images: ImageList, targets: Targets | None = None) -> Decoded:
        """Predict; see `QueryDetector`."""
        memory = self.encode(images)
        first_logits, first_boxes = self._first_boxes(memory)
        # The layers are trained from here on, not the choice of cells.
        boxes = first_boxes.detach()
        contents: Any = self.transformer.tgt_embed
        queries = contents.weight[: boxes.shape[1]].expand(boxes.shape[0], -1, -1)
        noise = None
        if targets is not None and self.num_denoising > 0:
            noise = denoising_queries(
                targets,
                self.num_classes,
                queries.shape[1],
                self.num_denoising,
                label_noise=self.label_noise,
                box_noise=self.box_noise,
            )
            # Where an image has fewer denoising queries than others, they are of any class.
            labels = self.label_enc(noise.labels.clamp(max=self.num_classes - 1))
            queries = torch.cat([labels, queries], dim=1)
            boxes = torch.cat([inverse_sigmoid(noise.boxes).sigmoid(), boxes], dim=1)
        found = self._refine(
            queries,
            boxes,
            memory,
            None if noise is None else noise.hidden,
            all_layers=targets is not None and self.deep_supervision,
        )
        if targets is None:
            return Decoded(found)
        return split_denoising(found, noise, (first_logits, first_boxes))

    def _first_boxes(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Logits (N, Q, K) and boxes (N, Q, 4) of the cells of the best score."""
        _, logits, boxes = choose_cells(
            *self._first_features(memory),
            self.num_queries,
            self.class_embed[-1],
            self.bbox_embed[-1],
        )
        return logits, boxes

    def _refine(
        self,
        queries: Tensor,
        boxes: Tensor,
        memory: Memory,
        hidden: Tensor | None,
        *,
        all_layers: bool,
    ) -> Predictions:
        """The predictions of all layers, or of the last.

        Args:
            queries: (N, D + Q, C).
            boxes: (N, D + Q, 4) that they start from.
            memory: the encoded maps.
            hidden: see `DecoderLayer`.
            all_layers: also predict from other layers than the last.
        """
        decoder: Any = self.transformer.decoder
        channels = queries.shape[-1] // 2
        logits, predicted = [], []
        refined = boxes
        for number in range(self.num_layers):
            # In shares of the finest map. Published weights take y before x.
            seen = memory.places(boxes)
            seen = seen[:, :, 0] if seen.dim() == 4 else seen
            waves = sine_box_encoding(seen[..., [1, 0, 2, 3]], channels)
            positions = decoder["ref_point_head"](waves.to(queries.dtype))
            queries = self.transformer.decode_layer(
                number, queries, positions, boxes, memory, hidden
            )
            if all_layers or number == self.num_layers - 1:
                state = decoder["norm"](queries)
                # The gradient reaches the layer before through the boxes that it moved.
                predicted.append(refine_boxes(refined, self.bbox_embed[number](state)))
                logits.append(self.class_embed[number](state))
            if number < self.num_layers - 1:
                refined = refine_boxes(boxes, self.bbox_embed[number](queries))
                boxes = refined.detach()
        return Predictions(aux_endings(len(logits)), torch.stack(logits), torch.stack(predicted))
