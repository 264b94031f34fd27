#!/usr/bin/env python
"""Count what a model costs: parameters, FLOPs and activations, module by module.

    python tools/analyze_model.py --config-file mask_rcnn_R_50_FPN_1x.yaml
    python tools/analyze_model.py --config-file quick_start.yaml --depth 3 --size 320 320

One image of the given size goes through the model. A FLOP is a multiplication with its addition,
an activation is a number that a convolution or a product of matrices puts out. How many regions a
detector looks at depends on the image and the weights. Without --weights nothing is found, so the
thresholds of scores are set to 0, boxes stay where their anchors are, and the heads work on as many
as the config allows. fvcore does the counting.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.engine import add_config_arguments, add_config_options, run_tool, setup_cfg
from d2lite.modeling import build_model
from d2lite.utils.analysis import FlopCountAnalysis, count_activations, parameter_count
from d2lite.utils.errors import ConfigError

# The shape of most photographs.
_WIDTH_BY_HEIGHT = 4 / 3
# The layers that say how a box differs from an anchor or a proposal.
_BOX_LAYERS = ("anchor_deltas", "bbox_pred")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--depth", type=int, default=2, help="names deep to list (default: 2)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="pixels of the image (default: INPUT.MIN_SIZE_TEST by 4/3 of it)",
    )
    parser.add_argument(
        "--weights", action="store_true", help="load MODEL.WEIGHTS instead of random weights"
    )
    add_config_options(parser, "opts")
    return parser.parse_args()


def a_photograph(channels: int, height: int, width: int) -> list[dict]:
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


def table(model: nn.Module, batch: list[dict], depth: int) -> str:
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


def main() -> None:
    """Print the table of the model that the command line describes."""
    args = parse_args()
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


if __name__ == "__main__":
    run_tool(main)
