#!/usr/bin/env python
"""Train or evaluate any configuration.

    python tools/train_net.py --config-file configs/quick_start.yaml
    python tools/train_net.py --config-file R50_3x.yaml --num-gpus 8 SOLVER.BASE_LR 0.01
    python tools/train_net.py --config-file R50_3x.yaml --eval-only MODEL.WEIGHTS model.pth

The file is a path, or the name or part of the name of a file under configs/ and
projects/*/configs/. The KEY VALUE pairs at the end overrule what the file says.
"""

from __future__ import annotations

import argparse

from d2lite.engine import (
    DefaultTrainer,
    default_argument_parser,
    default_setup,
    evaluate_checkpoint,
    launch_tool,
    run_tool,
    setup_cfg,
)


def train_or_evaluate(args: argparse.Namespace) -> None:
    """What one process does; every process of a distributed run calls it."""
    cfg = setup_cfg(args.config_file, args.opts, args.imports)
    default_setup(cfg, args)
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume)
        return
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def main() -> None:
    """Read the command line and start one process a device."""
    launch_tool(train_or_evaluate, default_argument_parser(__doc__))


if __name__ == "__main__":
    run_tool(main)
