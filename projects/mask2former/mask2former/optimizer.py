"""The optimizer of the published recipes: a slow backbone, and no decay of norms and embeddings."""

from torch import nn
from torch.optim import Optimizer

from d2lite.config import CfgNode
from d2lite.solver import build_optimizer
from d2lite.solver.build import configured_groups

# Learned positions of a Swin.
_POSITIONS = ("relative_position_bias_table", "absolute_pos_embed")


def build_train_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer | None:
    """The optimizer of a MaskFormer; None for other models.

    Args:
        cfg: the whole config; SOLVER.BACKBONE_MULTIPLIER and WEIGHT_DECAY_EMBED are this
            project's.
        model: with its backbone under the name "backbone".
    """
    if cfg.MODEL.META_ARCHITECTURE != "MaskFormer":
        return None
    solver = cfg.SOLVER
    groups = configured_groups(
        cfg,
        model,
        lr_factor_func=lambda name: solver.BACKBONE_MULTIPLIER if "backbone" in name else 1.0,
        overrides={name: {"weight_decay": 0.0} for name in _POSITIONS},
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
    )
    return build_optimizer(cfg, model, groups)
