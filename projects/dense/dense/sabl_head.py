"""The head of SABL: class scores, and buckets of the four sides with offsets from them.

N images, C classes, S buckets of a side, Hi x Wi cells of level i.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from d2lite.layers import ShapeSpec
from d2lite.layers.batch_norm import Norm

from .head import make_tower, prediction_layer


class SABLHead(nn.Module):
    """A tower for classes and one for sides, the same for all levels.

    Args:
        input_shape: of each level; all have the same channels.
        num_classes: C.
        side_buckets: S.
        channels: of the towers.
        num_convs: of each tower.
        norm: see `get_norm`.
        conv_bias: whether convolutions before a norm have a bias.
        deform_last: whether the last convolution of each tower moves its taps.
        prior_prob: the score of every class at the start.

    Source: Wang 2020, arXiv:1912.04260, section 3.3.
    """

    def __init__(
        self,
        input_shape: Sequence[ShapeSpec],
        *,
        num_classes: int,
        side_buckets: int,
        channels: int,
        num_convs: int,
        norm: Norm = "GN",
        conv_bias: bool = False,
        deform_last: bool = False,
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__()

        def tower() -> nn.Sequential:
            return make_tower(
                input_shape[0].channels,
                channels,
                num_convs,
                norm=norm,
                conv_bias=conv_bias,
                deform_last=deform_last,
            )

        self.cls_tower, self.box_tower = tower(), tower()
        self.cls_score = prediction_layer(channels, num_classes, prior_prob)
        self.bucket_score = prediction_layer(channels, 4 * side_buckets)
        self.bucket_offset = prediction_layer(channels, 4 * side_buckets)

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict from one (N, channels, Hi, Wi) a level.

        Returns:
            one (N, C, Hi, Wi) of class logits a level; and logits of buckets and their offsets,
            one (N, 4 * S, Hi, Wi) each, of left, right, top and bottom.
        """
        logits, scores, offsets = [], [], []
        for x in features:
            about_sides = self.box_tower(x)
            logits.append(self.cls_score(self.cls_tower(x)))
            scores.append(self.bucket_score(about_sides))
            offsets.append(self.bucket_offset(about_sides))
        return logits, scores, offsets
