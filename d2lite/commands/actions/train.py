"""What `d2lite train` does: one process a device trains or evaluates."""

import argparse

from d2lite.engine import DefaultTrainer, default_setup, evaluate_checkpoint, setup_cfg


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
