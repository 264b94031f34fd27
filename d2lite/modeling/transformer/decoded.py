"""Decoded: what a decoder of queries with boxes found, and how the queries are chosen and named.

N images, Q queries, D denoising queries, C channels, S cells, K classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from d2lite.utils.tracing import at_most

from .boxes import place_logits
from .denoising import DenoisingQueries
from .set_criterion import Predictions


class Decoded(NamedTuple):
    """What a decoder found.

    Attributes:
        found: predictions of the queries.
        denoised: those of the denoising queries; None without.
        noise: what these started from.
        first: predictions at all cells, which do not distinguish classes; None without.
        pixels: (N, E, H, W) vectors of pixels for masks; None without.
    """

    found: Predictions
    denoised: Predictions | None = None
    noise: DenoisingQueries | None = None
    first: Predictions | None = None
    pixels: Tensor | None = None


def choose_cells(
    features: Tensor,
    boxes: Tensor,
    usable: Tensor,
    count: int,
    score_head: nn.Module,
    box_head: nn.Module,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the cells of the best score as queries.

    Args:
        features: (N, S, C) of the cells.
        boxes: (S, 4) or (N, S, 4) (cx, cy, w, h) at the cells.
        usable: (N, S) bool; other cells come last.
        count: Q, or all cells where there are fewer.
        score_head: (..., C) -> (..., K) logits.
        box_head: (..., C) -> (..., 4) changes of the boxes' logits.

    Returns:
        Features (N, Q, C), logits (N, Q, K) and boxes (N, Q, 4).
    """
    logits = score_head(features)
    scores = logits.detach().amax(dim=-1).masked_fill(~usable, -torch.inf)
    chosen = scores.topk(at_most(count, features.shape[1]), dim=1).indices[:, :, None]
    features, logits, places = (
        part.gather(1, chosen.expand(-1, -1, part.shape[2]))
        for part in (features, logits, place_logits(boxes, usable))
    )
    return features, logits, (places + box_head(features).to(places.dtype)).sigmoid()


def aux_endings(count: int) -> list[str]:
    """The endings _aux_0, _aux_1, ..., and an empty one for the last."""
    return [*(f"_aux_{number}" for number in range(count - 1)), ""]


def split_denoising(
    found: Predictions,
    noise: DenoisingQueries | None,
    first: tuple[Tensor, Tensor] | None = None,
) -> Decoded:
    """Separate the predictions of the denoising queries, which come first, from the others.

    Args:
        found: predictions of D + Q queries.
        noise: what the denoising queries started from; None without.
        first: logits (N, Q, K) and boxes (N, Q, 4) that the queries started from; they get the
            ending "_enc_0".
    """
    count = 0 if noise is None else noise.labels.shape[1]
    own = _queries_of(found, slice(count, None), "")
    if first is not None:
        logits, boxes = first
        own = own._replace(
            endings=[*own.endings, "_enc_0"],
            logits=torch.cat([own.logits, logits[None].to(own.logits.dtype)]),
            boxes=torch.cat([own.boxes, boxes[None]]),
        )
    if noise is None:
        return Decoded(own)
    return Decoded(own, _queries_of(found, slice(0, count), "_dn"), noise)


def _queries_of(found: Predictions, part: slice, kind: str) -> Predictions:
    """Some of the queries; with a kind such as "_dn" their endings are "_dn_0", "_dn_1", ..."""
    endings = list(found.endings)
    if kind:
        last = sum(ending.startswith("_aux") for ending in endings)
        endings = [
            f"{kind}_{last}"
            if not ending
            else ending.replace("_aux", kind)
            if ending.startswith("_aux")
            else f"{kind}{ending}"
            for ending in endings
        ]
    return Predictions(
        endings,
        found.logits[:, :, part],
        found.boxes[:, :, part],
        None if found.edges is None else found.edges[:, :, part],
        None if found.start is None else found.start[:, part],
        None if found.features is None else found.features[:, :, part],
    )
