"""The instance head of SOLOv2: a category and a mask kernel for every cell of every grid.

N images, C categories, D numbers of a kernel, S x S cells of a level.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from d2lite.modeling.weight_init import normal_fill, prior_fill

from .coords import append_coords
from .layers import conv_norm_relu


class InstanceHead(nn.Module):
    """Two towers of convolutions, shared by all levels, over features brought to grid size.

    Source: SOLOv2, arXiv:2003.10152, section 3.1.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_convs: int,
        num_classes: int,
        num_kernels: int,
        num_grids: Sequence[int],
        norm: str,
        prior_prob: float,
        use_coords: bool,
        deform: str,
        init: str,
    ) -> None:
        """Build the towers.

        Args:
            in_channels: channels of every level.
            channels: width of the towers.
            num_convs: convolutions of a tower.
            num_classes: C.
            num_kernels: D.
            num_grids: S of every level.
            norm: "GN" or "".
            prior_prob: score of every category before training, in (0, 1).
            use_coords: give the kernel tower the position of every pixel.
            deform: "", or the deformable type of each tower's last convolution.
            init: of the towers' weights: "normal" or "kaiming".
        """
        super().__init__()
        self.num_grids = list(num_grids)
        self.use_coords = use_coords

        def tower(first_width: int) -> nn.Sequential:
            blocks = [
                conv_norm_relu(
                    channels if i else first_width,
                    channels,
                    norm=norm,
                    deform=deform if i == num_convs - 1 else "",
                    init=init,
                )
                for i in range(num_convs)
            ]
            return nn.Sequential(*(layer for block in blocks for layer in block))

        tower_out = channels if num_convs else in_channels
        self.cate_tower = tower(in_channels)
        self.kernel_tower = tower(in_channels + 2 * use_coords)
        self.cate_pred = nn.Conv2d(tower_out, num_classes, 3, padding=1)
        self.kernel_pred = nn.Conv2d(
            tower_out if num_convs else in_channels + 2 * use_coords, num_kernels, 3, padding=1
        )
        for conv in (self.cate_pred, self.kernel_pred):
            normal_fill(conv, std=0.01)
        prior_fill(self.cate_pred, prior_prob)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict for all levels.

        Args:
            features: one (N, channels, H, W) tensor a level.

        Returns:
            Category logits (N, C, S, S) and kernels (N, D, S, S), a tensor a level each.
        """
        pred_categories, pred_kernels = [], []
        for feature, num_grid in zip(features, self.num_grids, strict=True):
            width = feature.shape[1]
            if self.use_coords:
                feature = append_coords(feature)
            cells = F.interpolate(
                feature, size=(num_grid, num_grid), mode="bilinear", align_corners=False
            )
            pred_categories.append(self.cate_pred(self.cate_tower(cells[:, :width])))
            pred_kernels.append(self.kernel_pred(self.kernel_tower(cells)))
        return pred_categories, pred_kernels
