"""Small stand-ins: a linear model on a stream of points that can seek, and a toy detector."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.structures import Boxes, Instances
from d2lite.utils.keyed_rng import draw_key


class LineModel(nn.Module):
    """Predicts y of a point from x; training returns two losses that are means over points."""

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.line.weight.copy_(torch.tensor([[0.5, -0.25]]))
            self.line.bias.fill_(0.1)

    def forward(self, batch: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        x = torch.stack([point["x"] for point in batch])
        y = torch.stack([point["y"] for point in batch])
        error = self.line(self.dropout(x)).squeeze(1) - y
        return {"loss_square": error.square().mean(), "loss_abs": error.abs().mean()}


class PointStream:
    """Endless batches of points, each batch a function of (seed, its number)."""

    def __init__(self, batch_size: int = 6, seed: int = 3) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.start = 0

    def seek(self, batch: int) -> None:
        self.start = batch

    def __iter__(self) -> Iterator[list[dict[str, Tensor]]]:
        number = self.start
        while True:
            generator = torch.Generator().manual_seed(draw_key(self.seed, number))
            points = torch.rand(self.batch_size, 3, generator=generator)
            yield [
                {"x": point[:2], "y": point[2], "file_name": f"point_{number}_{index}.jpg"}
                for index, point in enumerate(points)
            ]
            number += 1


def weights(trainer) -> Tensor:
    """All parameters of the model, in one vector."""
    return nn.utils.parameters_to_vector(trainer.model.parameters()).detach().clone()


def make_sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@META_ARCH_REGISTRY.register()
class ToyDetector(nn.Module):
    """One box and class scores an image, from mean colour; dropout makes the draws matter."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.dropout = nn.Dropout(0.3)
        self.box = nn.Linear(3, 4)
        self.score = nn.Linear(3, 3)

    @property
    def device(self) -> torch.device:
        return self.box.weight.device

    def forward(self, batched_inputs: list[dict]) -> dict | list[dict]:
        colour = torch.stack([sample["image"].float().mean((1, 2)) for sample in batched_inputs])
        feature = self.dropout(self.norm(colour.to(self.device)))
        boxes, scores = self.box(feature), self.score(feature)
        if not self.training:
            return [
                {"instances": self._instances(sample, box, score)}
                for sample, box, score in zip(batched_inputs, boxes, scores, strict=True)
            ]
        truth = [sample["instances"] for sample in batched_inputs]
        gt_boxes = torch.stack([gt.gt_boxes.tensor[0] for gt in truth]).to(self.device)
        gt_classes = torch.stack([gt.gt_classes[0] for gt in truth]).to(self.device)
        return {
            "loss_box": (boxes - gt_boxes / 50).square().mean(),
            "loss_class": nn.functional.cross_entropy(scores, gt_classes),
        }

    def _instances(self, sample: dict, box: Tensor, score: Tensor) -> Instances:
        found = Instances((sample["height"], sample["width"]))
        found.pred_boxes = Boxes(box[None] * 50)
        found.scores = score.softmax(0).max(0, keepdim=True).values
        found.pred_classes = score.argmax(0, keepdim=True)
        return found
