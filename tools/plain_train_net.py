#!/usr/bin/env python
"""The training of train_net.py with no trainer and no hook: the loop laid bare.

    python tools/plain_train_net.py --config-file configs/quick_start.yaml

Copy this file when you need a loop of your own. It trains, logs, saves, evaluates and resumes on
one device or, under DistributedDataParallel, on several; what a trainer adds (mixed precision,
accumulation, averaged weights, validation loss, best checkpoint, early stopping, profiling) is left
out.
"""

from __future__ import annotations

import argparse
import logging

import torch

from d2lite.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
from d2lite.config import CfgNode
from d2lite.data import build_detection_test_loader, build_detection_train_loader
from d2lite.engine import (
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    evaluate_checkpoint,
    follow_epochs,
    launch_tool,
    run_tool,
    setup_cfg,
)
from d2lite.evaluation import build_evaluator, inference_on_dataset, print_csv_format
from d2lite.modeling import build_model
from d2lite.solver import build_lr_scheduler, build_optimizer
from d2lite.utils import comm
from d2lite.utils.events import EventStorage

logger = logging.getLogger("d2lite.plain_train_net")


def evaluate(cfg: CfgNode, model: torch.nn.Module) -> None:
    """Print the results on every set of DATASETS.TEST."""
    for name in cfg.DATASETS.TEST:
        evaluator = build_evaluator(name, output_dir=f"{cfg.OUTPUT_DIR}/inference")
        loader = build_detection_test_loader(cfg, name)
        results = inference_on_dataset(model, loader, evaluator)
        if comm.is_main_process():
            print_csv_format(results)
        comm.synchronize()


def train(cfg: CfgNode, model: torch.nn.Module, *, resume: bool) -> None:
    """Train `model` in place, from the last checkpoint of OUTPUT_DIR if `resume`."""
    model.train()
    loader = build_detection_train_loader(cfg)
    follow_epochs(cfg, loader)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    checkpointer = DetectionCheckpointer(
        model, cfg.OUTPUT_DIR, optimizer=optimizer, scheduler=scheduler
    )
    loaded = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    start = loaded.get("iteration", -1) + 1 if resume and checkpointer.has_checkpoint() else 0
    saver = PeriodicCheckpointer(checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.MAX_ITER)
    writers = default_writers(cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER)
    loader.seek(start)
    with EventStorage(start) as storage:
        for iteration, batch in zip(range(start, cfg.SOLVER.MAX_ITER), loader, strict=False):
            storage.iter = iteration
            losses = model(batch)
            total = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            storage.put_scalars(
                total_loss=total.detach(), lr=optimizer.param_groups[0]["lr"], **losses
            )
            scheduler.step()
            is_last = iteration == cfg.SOLVER.MAX_ITER - 1
            if comm.is_main_process() and ((iteration + 1) % 20 == 0 or is_last):
                for writer in writers:
                    writer.write()
            saver.step(iteration)
    for writer in writers:
        writer.close()


def run(args: argparse.Namespace) -> None:
    """What one process does."""
    cfg = setup_cfg(args.config_file, args.opts, args.imports)
    default_setup(cfg, args)
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume)
        return
    model = build_model(cfg)
    train(cfg, create_ddp_model(model), resume=args.resume)
    evaluate(cfg, model)


def main() -> None:
    """Read the command line and start one process a device."""
    launch_tool(run, default_argument_parser(__doc__))


if __name__ == "__main__":
    run_tool(main)
