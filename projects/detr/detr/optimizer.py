"""The optimizer of the published recipes: a slow backbone, and slow offsets and first places."""

from torch import nn
from torch.optim import Optimizer

from d2lite.config import CfgNode
from d2lite.solver import build_optimizer
from d2lite.solver.build import configured_groups

_LINEAR_PROJECTIONS = (".sampling_offsets.", ".reference_points.")


def build_train_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer | None:
    """The optimizer of a DETR, Deformable DETR or DINO; None for other models.

    Args:
        cfg: the whole config; SOLVER.BACKBONE_MULTIPLIER and LINEAR_PROJ_MULTIPLIER are this
            project's.
        model: with its backbone under the name "backbone".
    """
    if cfg.MODEL.META_ARCHITECTURE not in ("Detr", "DeformableDETR", "DINO"):
        return None
    solver = cfg.SOLVER

    def factor(name: str) -> float:
        if name.startswith("backbone."):
            return float(solver.BACKBONE_MULTIPLIER)
        if any(part in name for part in _LINEAR_PROJECTIONS):
            return float(solver.LINEAR_PROJ_MULTIPLIER)
        return 1.0

    return build_optimizer(cfg, model, configured_groups(cfg, model, lr_factor_func=factor))
