"""Mask R-CNN whose heads normalise by the statistics of the batch in evaluation, too."""

from torch import Tensor, nn
from torch.nn import functional as F

from .recipe import head_with


class BatchNormBatchStat(nn.BatchNorm2d):
    """Batch norm that never uses its running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalised over N, H and W."""
        if self.training:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


dataloader, lr_multiplier, model, optimizer, train = head_with(BatchNormBatchStat)
