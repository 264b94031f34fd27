"""The optimizer of the published recipes: a slow backbone, and no decay of norms."""

from torch import nn
from torch.optim import Optimizer

from d2lite.config import CfgNode
from d2lite.solver import build_optimizer
from d2lite.solver.build import configured_groups


def build_train_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer | None:
    """The optimizer of an RTDETR; None for other models.

    Args:
        cfg: the whole config; SOLVER.BACKBONE_MULTIPLIER is this project's.
        model: with its backbone under the name "backbone".
    """
    if cfg.MODEL.META_ARCHITECTURE != "RTDETR":
        return None
    factor = cfg.SOLVER.BACKBONE_MULTIPLIER
    groups = configured_groups(
        cfg, model, lr_factor_func=lambda name: factor if name.startswith("backbone.") else 1.0
    )
    return build_optimizer(cfg, model, groups)
