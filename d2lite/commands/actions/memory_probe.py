"""measure_memory: what a training keeps for its backward pass, found by a forward pass."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from d2lite.config import CfgNode
from d2lite.data import DatasetMapper
from d2lite.engine.derived_config import ClassKey
from d2lite.modeling import build_model
from d2lite.projects import build_project_mapper
from d2lite.recipes import Memory

# Beside the tensors: the libraries of a GPU, and what its allocator cannot use.
_CONTEXT_GIB = 1.0
# The peak of a step over the tensors that its forward pass saves, with two images: 1.02 to 1.40 for
# five models on a CPU (Mask R-CNN 1.40, RetinaNet and SOLOv2 1.10, RT-DETR 1.02); for each further
# image it is less.
_OVER_SAVED = 1.4


def measure_memory(
    cfg: CfgNode, records: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> Memory:
    """Memory of a training step, from one forward pass on the CPU with each of some images.

    Args:
        cfg: of the training; it is not changed.
        records: dataset dicts of the heaviest images.
        class_names: of the data.

    Returns:
        GiB of the model with gradients, optimizer and averages, and GiB of each image.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.INPUT.MIN_SIZE_TRAIN = (max(cfg.INPUT.MIN_SIZE_TRAIN),)
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
    ClassKey.of(cfg).follow(class_names, "the data")
    model = build_model(cfg).train()
    mapper = build_project_mapper(cfg) or DatasetMapper(cfg, True)
    most = 0
    for record in records:
        sample = mapper(copy.deepcopy(record))
        if sample is not None:
            with torch.autocast("cpu", torch.bfloat16, enabled=cfg.SOLVER.AMP.ENABLED):
                most = max(most, saved_bytes(model, [sample]))
    size = sum(value.nbytes for value in model.state_dict().values())
    trained = sum(value.nbytes for value in model.parameters() if value.requires_grad)
    # Momentum; Adam and AdamW keep two numbers for each weight.
    states = 1 if cfg.SOLVER.OPTIMIZER.lower() == "sgd" else 2
    fixed = size * (1 + cfg.MODEL_EMA.ENABLED) + trained * (1 + states)
    return Memory(_CONTEXT_GIB + fixed / 2**30, _OVER_SAVED * most / 2**30)


def saved_bytes(model: nn.Module, batch: list[dict[str, Any]]) -> int:
    """Bytes of the tensors that the losses of a batch keep for their gradients.

    Args:
        model: in training mode.
        batch: its inputs.
    """
    own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        # Kept until it is counted, and with it all that was saved.
        losses = model(batch)
        return sum(sizes.values()) if losses else 0
