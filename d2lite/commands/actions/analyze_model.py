"""What `d2lite analyze-model` does: count what a model costs."""

import argparse
from typing import Any

import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.predicting.model_source import model_config
from d2lite.utils.analysis import FlopCountAnalysis, count_activations, parameter_count
from d2lite.utils.errors import ConfigError

# The shape of most photographs.
_WIDTH_BY_HEIGHT = 4 / 3
# The layers that say how a box differs from an anchor or a proposal.
_BOX_LAYERS = ("anchor_deltas", "bbox_pred")


def a_photograph(channels: int, height: int, width: int) -> list[dict[str, Any]]:
    """A batch of one image of noise."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (channels, height, width), generator=draws, dtype=torch.uint8)
    return [{"image": pixels, "height": height, "width": width}]


def leave_boxes_in_place(model: nn.Module) -> None:
    """Let a model of random weights move no box.

    Its deltas are so large that all boxes become the whole image, of which one is kept.
    """
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[0].rpartition(".")[2] in _BOX_LAYERS:
            nn.init.zeros_(parameter)


def table(model: nn.Module, batch: list[dict[str, Any]], depth: int) -> str:
    """One line for each module down to `depth`, with its three counts."""
    parameters = parameter_count(model)
    flops = FlopCountAnalysis(model, batch).by_module()
    activations = count_activations(model, batch).by_module()
    names = [
        name
        for name, _ in model.named_modules()
        if len(name.split(".")) * bool(name) <= depth and (parameters.get(name) or flops.get(name))
    ]
    rows = [("module", "parameters", "GFLOPs", "activations (million)")]
    rows += [
        (
            name or "whole model",
            f"{parameters.get(name, 0):,}",
            f"{flops.get(name, 0) / 1e9:,.3f}",
            f"{activations.get(name, 0) / 1e6:,.3f}",
        )
        for name in names
    ]
    first, *others = (max(len(row[column]) for row in rows) for column in range(4))
    return "\n".join(
        "  ".join(
            [row[0].ljust(first), *(cell.rjust(w) for cell, w in zip(row[1:], others, strict=True))]
        )
        for row in rows
    )


def analyze_model(args: argparse.Namespace) -> None:
    """Print the table of the model that the command line describes."""
    if args.subject:
        cfg = model_config(args.subject, args.opts, args.imports, needs_weights=False)
    else:
        cfg = setup_cfg(args.config_file, args.opts, args.imports)
    if cfg.MODEL.LOAD_PROPOSALS:
        raise ConfigError(
            "MODEL.LOAD_PROPOSALS: this model wants proposals of each image, which an image of "
            "noise has not. Analyse the same model with its own RPN: MODEL.LOAD_PROPOSALS False "
            "MODEL.PROPOSAL_GENERATOR.NAME RPN."
        )
    if not args.weights:
        for node in cfg.MODEL.values():
            if isinstance(node, CfgNode) and "SCORE_THRESH_TEST" in node:
                node.SCORE_THRESH_TEST = 0.0
    model = build_model(cfg)
    if args.weights:
        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    else:
        leave_boxes_in_place(model)
    shortest = cfg.INPUT.MIN_SIZE_TEST or 800
    height, width = args.size or (shortest, round(shortest * _WIDTH_BY_HEIGHT))
    if min(height, width) < 1 or args.depth < 0:
        raise ConfigError(
            f"--size {height} {width} --depth {args.depth}: give pixels above 0 and a depth of 0 "
            "or more."
        )
    print(f"{type(model).__name__} on one image of {height} x {width} pixels")
    batch = a_photograph(len(cfg.MODEL.PIXEL_MEAN), height, width)
    print(table(model, batch, args.depth))
