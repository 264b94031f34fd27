"""EoMT: the model, from images to losses and results.

N images, Q queries, P tokens that belong to no cell, H x W cells, D channels, K classes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.data import MetadataCatalog
from d2lite.layers.batch_norm import LayerNorm
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.backbone import TimmViT
from d2lite.modeling.meta_arch.mask_queries import MaskQueries, mask_query_arguments
from d2lite.utils.errors import ConfigError, ExportError
from d2lite.utils.events import get_event_storage, has_event_storage
from d2lite.utils.keyed_rng import image_generator

from .published import follow_published_config

# Tells these draws about an image from others; see `image_generator`. One a block.
_MASKED = 3000


@META_ARCH_REGISTRY.register()
class EoMT(MaskQueries):
    """Queries go through the last blocks of a plain vision transformer, as further tokens.

    While masks are used, a query attends, in each of these blocks, to the cells of the mask that it
    predicted before the block. In the course of a training fewer and fewer queries do so, block by
    block, so that predictions need no masks.

    Args:
        backbone: a vision transformer of timm without windows.
        num_queries: Q.
        num_classes: K.
        num_blocks: blocks that see the queries.
        num_upscales: each doubles the size of the map that masks are read from.
        norm_eps: added to the variance in the norms of the backbone; 0 leaves what it has.
        max_iter: iterations of the training, by which masks are given up; None keeps them.
        annealing_power: power of the share of the time that is left.
        **others: see `MaskQueries`.

    Raises:
        ConfigError: for another backbone, or fewer blocks than asked for.

    Source: Kerssies 2025, arXiv:2503.19108.
    """

    section = "EOMT"
    attn_mask_probs: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: TimmViT,
        num_queries: int,
        num_classes: int,
        num_blocks: int,
        num_upscales: int,
        norm_eps: float,
        max_iter: int | None,
        annealing_power: float,
        **others: Any,
    ) -> None:
        super().__init__(backbone=backbone, **others)
        if not isinstance(backbone, TimmViT) or not backbone.takes_tokens:
            raise ConfigError(
                "EoMT needs a plain vision transformer without windows: MODEL.BACKBONE.NAME "
                "'timm_vit:NAME' (not SAM), and MODEL.TIMM_VIT.WINDOW_SIZE 0."
            )
        if not 1 <= num_blocks <= len(backbone.net.blocks):
            raise ConfigError(
                f"MODEL.EOMT.BLOCKS is {num_blocks}; the backbone has {len(backbone.net.blocks)}."
            )
        for module in backbone.modules() if norm_eps else ():
            if isinstance(module, nn.LayerNorm):
                module.eps = norm_eps
        (width,) = (shape.channels for shape in backbone.output_shape().values())
        self.num_blocks, self.max_iter = num_blocks, max_iter
        self.annealing_power = annealing_power
        self.q = nn.Embedding(num_queries, width)
        self.class_head = nn.Linear(width, num_classes + 1)
        layers = [nn.Linear(width, width) for _ in range(3)]
        self.mask_head = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.upscale = nn.Sequential(*(_Upscale(width) for _ in range(num_upscales)))
        # A buffer, since predictions with these weights need it.
        self.register_buffer("attn_mask_probs", torch.ones(num_blocks))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `TEST`, and the metadata of the training set."""
        follow_published_config(cfg)
        node = cfg.MODEL.EOMT
        names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
        metadata = MetadataCatalog.get(names[0]) if names else None
        return {
            **mask_query_arguments(cfg, node, node.BLOCKS, metadata),
            "num_queries": node.QUERIES,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "num_blocks": node.BLOCKS,
            "num_upscales": node.UPSCALES,
            "norm_eps": node.NORM_EPS,
            "max_iter": cfg.SOLVER.MAX_ITER if node.ANNEALED else None,
            "annealing_power": node.ANNEALING_POWER,
        }

    def predict_queries(self, images: Tensor) -> dict[str, Any]:
        """See `MaskQueries.predict_queries`; aux_outputs are of the blocks that use masks."""
        if self.training:
            self._anneal()
        if not torch.compiler.is_exporting():
            # An export has no values of buffers.
            self._probs = self.attn_mask_probs.tolist()
        probs = self._probs
        backbone: TimmViT = self.backbone
        first = len(backbone.net.blocks) - self.num_blocks
        tokens, rope, grid = backbone.first_tokens(images)
        num_queries, found, mask = self.q.num_embeddings, [], None
        for number in range(len(backbone.net.blocks)):
            if number == first:
                queries = self.q.weight.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
                tokens = torch.cat([queries, tokens], dim=1)
            if number >= first and (self.training or probs[number - first] > 0):
                found.append(self._read(backbone.net.norm(tokens), grid))
                mask = self._attention_mask(
                    found[-1]["pred_masks"], tokens.shape[1], grid, number - first, probs
                )
            added = num_queries if number >= first else 0
            tokens = backbone.run_block(number, tokens, rope, mask, num_added=added)
        return {**self._read(backbone.net.norm(tokens), grid), "aux_outputs": found}

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `MaskQueries.predict_padded`.

        Raises:
            ExportError: if queries are masked at random, as in the middle of a training.
        """
        found = super().predict_padded(images, sizes)
        if any(0 < prob < 1 for prob in self._probs):
            raise ExportError(
                f"EoMT: attn_mask_probs is {self._probs}, so queries are masked at random. Export "
                "the model at the end of its training, where they are 0."
            )
        return found

    def _read(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Classes and masks of the queries of (N, Q + P + H * W, D) tokens."""
        queries = tokens[:, : self.q.num_embeddings]
        cells = tokens[:, -grid[0] * grid[1] :].mT.unflatten(2, grid)
        masks = torch.einsum("nqd,ndhw->nqhw", self.mask_head(queries), self.upscale(cells))
        return {"pred_logits": self.class_head(queries), "pred_masks": masks}

    @torch.no_grad()
    def _attention_mask(
        self, masks: Tensor, length: int, grid: tuple[int, int], block: int, probs: list[float]
    ) -> Tensor:
        """What each token sees, (N, 1, L, L) bool: queries the cells of their masks, if masked."""
        images, queries = masks.shape[:2]
        sees = masks.new_ones(images, length, length, dtype=torch.bool)
        cells = F.interpolate(masks.float(), size=grid, mode="bilinear").flatten(2) > 0
        if probs[block] < 1:
            draws = [
                torch.rand(
                    queries,
                    generator=image_generator(image, _MASKED + block, masks.device),
                    device=masks.device,
                )
                for image in range(images)
            ]
            cells = cells | (torch.stack(draws) > probs[block])[..., None]
        sees[:, :queries, -cells.shape[2] :] = cells
        return sees[:, None]

    def _anneal(self) -> None:
        """Set the share of queries that are masked, by the iteration that the trainer is in.

        Of B blocks, the first ends its masks between 1 / (B + 2) and 2 / (B + 2) of the training,
        and each further one so much later.
        """
        if self.max_iter is None or not has_event_storage():
            return
        parts = get_event_storage().iter / self.max_iter * (self.num_blocks + 2)
        left = [min(max(2 + block - parts, 0.0), 1.0) for block in range(self.num_blocks)]
        self.attn_mask_probs.copy_(torch.tensor([part**self.annealing_power for part in left]))


class _Upscale(nn.Module):
    """A map of twice the size: a strided deconvolution, then a convolution by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, H, W) -> (N, D, 2 * H, 2 * W)."""
        return self.norm(self.conv2(self.act(self.conv1(x))))
