"""ExportedPredictor: a file of `d2lite export` where a `DefaultPredictor` is expected."""

from torch import nn

from d2lite.engine import DefaultPredictor
from d2lite.export import ExportedModel


class ExportedPredictor(DefaultPredictor):
    """Takes the config of `model_config`, whose MODEL.WEIGHTS is the file."""

    def _stored_class_names(self, weights: str) -> list[str] | None:
        self._exported = ExportedModel(weights)
        return self._exported.class_names

    def _load_model(self, weights: str) -> nn.Module:
        return self._exported
