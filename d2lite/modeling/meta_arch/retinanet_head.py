"""The layers of RetinaNet: two towers of convolutions, shared by all levels.

N images, C classes, A anchors a cell, Hi x Wi cells of level i.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting

from d2lite.config import CfgNode, configurable
from d2lite.layers import CycleBatchNormList, ShapeSpec, get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ArgumentError, ConfigError

from ..anchor_generator import build_anchor_generator
from ..weight_init import normal_fill, prior_fill

_BATCH_NORMS = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}


class RetinaNetHead(nn.Module):
    """Class scores and box deltas of every anchor.

    Args:
        input_shape: of each level.
        num_classes: without background, which gets no score.
        num_anchors: a cell, the same on all levels; a number or one a level.
        conv_dims: output channels of the convolutions of each tower.
        norm: a name or callable for `get_norm` after each convolution. Batch norm ("BN", "SyncBN")
            keeps statistics for each level.
        prior_prob: score of every class at the start, so that the loss of the many background
            anchors does not dominate.

    Source: Lin 2017, arXiv:1708.02002.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: list[ShapeSpec],
        num_classes: int,
        num_anchors: int | Sequence[int],
        conv_dims: Sequence[int],
        norm: Norm = "",
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__()
        counts = {num_anchors} if isinstance(num_anchors, int) else set(num_anchors)
        channels = {shape.channels for shape in input_shape}
        if len(counts) != 1 or len(channels) != 1:
            raise ConfigError(
                "One RetinaNet head serves all levels, but they have "
                f"{sorted(channels)} channels and {sorted(counts)} anchors a cell. Make them "
                "equal (MODEL.RETINANET.IN_FEATURES, MODEL.ANCHOR_GENERATOR)."
            )
        if not 0 < prior_prob < 1:
            raise ConfigError(f"MODEL.RETINANET.PRIOR_PROB={prior_prob}: use one between 0 and 1.")
        in_channels, count = channels.pop(), counts.pop()
        # Filled in this order: the names of saved weights follow it.
        self._num_levels = len(input_shape)
        self.cls_subnet = self._make_tower(in_channels, conv_dims, norm)
        self.bbox_subnet = self._make_tower(in_channels, conv_dims, norm)
        width = conv_dims[-1] if conv_dims else in_channels
        self.cls_score = nn.Conv2d(width, count * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(width, count * 4, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                normal_fill(layer, std=0.01)
        prior_fill(self.cls_score, prior_prob)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, object]:
        """Arguments from `MODEL.RETINANET` and the anchors that `MODEL.ANCHOR_GENERATOR` makes."""
        node = cfg.MODEL.RETINANET
        return {
            "input_shape": input_shape,
            "num_classes": node.NUM_CLASSES,
            "num_anchors": build_anchor_generator(cfg, input_shape).num_anchors,
            "conv_dims": [input_shape[0].channels] * node.NUM_CONVS,
            "norm": node.NORM,
            "prior_prob": node.PRIOR_PROB,
        }

    def _make_tower(self, in_channels: int, conv_dims: Sequence[int], norm: Norm) -> nn.Sequential:
        layers: list[nn.Module] = []
        for out_channels in conv_dims:
            layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
            own_norm = get_norm(norm, out_channels)
            if isinstance(norm, str) and norm in _BATCH_NORMS:
                kind = _BATCH_NORMS[norm]
                own_norm = CycleBatchNormList(
                    self._num_levels, bn_class=kind, num_features=out_channels
                )
            if own_norm is not None:
                layers.append(own_norm)
            layers.append(nn.ReLU())
            in_channels = out_channels
        return nn.Sequential(*layers)

    def _begin(self, features: list[Tensor]) -> None:
        """Check the number of levels; norms of levels begin with the first one."""
        if len(features) != self._num_levels:
            raise ArgumentError(f"{len(features)} feature maps; this head has {self._num_levels}.")
        if not is_scripting():
            self._restart_norms()

    @torch.jit.unused
    def _restart_norms(self) -> None:
        for module in self.modules():
            if isinstance(module, CycleBatchNormList):
                module.restart()

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict.

        Args:
            features: one (N, channels, Hi, Wi) a level, of all levels.

        Returns:
            one (N, A * C, Hi, Wi) of class logits a level; one (N, A * 4, Hi, Wi) of deltas.

        Raises:
            ArgumentError: if the number of levels is not that of `input_shape`.
        """
        self._begin(features)
        logits = [self.cls_score(self.cls_subnet(feature)) for feature in features]
        deltas = [self.bbox_pred(self.bbox_subnet(feature)) for feature in features]
        return logits, deltas
