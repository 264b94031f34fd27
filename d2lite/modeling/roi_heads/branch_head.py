"""BranchHead: what mask and keypoint heads do with the features of regions."""

from torch import Tensor, nn

from d2lite.structures import Instances
from d2lite.utils.errors import ExportError


class BranchHead(nn.Module):
    """Layers on the features of regions; then losses in training, or predictions.

    A subclass implements `layers`, `losses_of` and `predict_`. R regions of all images.
    """

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        """Predict for each region.

        Args:
            x: (R, C, H, W) features of the regions.
            instances: the regions of each image: in training labelled foreground proposals, else
                detections.

        Returns:
            In training the losses by name; else the instances, with the predictions.
        """
        logits = self.layers(x)
        if self.training:
            return self.losses_of(logits, instances)
        self.predict_(logits, instances)
        return instances

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features -> logits of R regions."""
        raise NotImplementedError

    def losses_of(self, logits: Tensor, instances: list[Instances]) -> dict[str, Tensor]:
        """Losses by name, of the logits of labelled proposals."""
        raise NotImplementedError

    def predict_(self, logits: Tensor, instances: list[Instances]) -> None:
        """Add the predictions to the detections, in place."""
        raise NotImplementedError

    def predict_rows(self, logits: Tensor, boxes: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """Predictions as tensors by name, one row a region, for the fixed-size form.

        Args:
            logits: what `layers` gives.
            boxes: (R, 4) float, xyxy in pixels of the network's input.
            classes: (R,) int64.

        Raises:
            ExportError: if the head has none.
        """
        raise ExportError(f"{type(self).__name__} has no fixed-size form.")
