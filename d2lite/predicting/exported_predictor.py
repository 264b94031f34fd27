"""ExportedPredictor: a file of `d2lite export` where a `DefaultPredictor` is expected."""

from torch import nn

from d2lite.config import CfgNode
from d2lite.engine import DefaultPredictor
from d2lite.export import EXPORTED_SUFFIXES, ExportedModel


class ExportedPredictor(DefaultPredictor):
    """Takes the config of `model_config`, whose MODEL.WEIGHTS is the file."""

    def _stored_class_names(self, weights: str) -> list[str] | None:
        self._exported = ExportedModel(weights)
        return self._exported.class_names

    def _load_model(self, weights: str) -> nn.Module:
        return self._exported


def load_predictor(cfg: CfgNode) -> DefaultPredictor:
    """The model of a config, whose MODEL.WEIGHTS may be an exported file."""
    is_exported = cfg.MODEL.WEIGHTS.endswith(EXPORTED_SUFFIXES)
    return ExportedPredictor(cfg) if is_exported else DefaultPredictor(cfg)
