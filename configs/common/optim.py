"""The two optimizers of published configs; `params.model` is set when the model is there."""

import torch

from d2lite.config import LazyCall as L
from d2lite.solver.build import get_default_optimizer_params

SGD = L(torch.optim.SGD)(
    params=L(get_default_optimizer_params)(weight_decay_norm=0.0),
    lr=0.02,
    momentum=0.9,
    weight_decay=1e-4,
)

AdamW = L(torch.optim.AdamW)(
    params=L(get_default_optimizer_params)(base_lr="${..lr}", weight_decay_norm=0.0, overrides={}),
    lr=1e-4,
    betas=(0.9, 0.999),
    weight_decay=0.1,
)
