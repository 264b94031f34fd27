"""What `d2lite train` does: one process a device trains or evaluates."""

import argparse
from collections.abc import Callable

from d2lite.engine import DefaultTrainer, default_setup, evaluate_checkpoint, launch, setup_cfg


def launch_processes(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Start the processes that the options ask for.

    Args:
        main: what each of them does; a function of a module, so that it can be sent to them.
        args: the options, which each gets.
    """
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
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
