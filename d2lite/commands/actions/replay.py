"""What `d2lite replay` does: load a reported batch again and measure its losses."""

import argparse
import logging
import math
from pathlib import Path
from typing import Any

from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.data import MetadataCatalog
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.engine.reports.nonfinite_report import read_report
from d2lite.engine.reports.replay import load_reported_batch, measure_batch
from d2lite.engine.reports.sample_pictures import draw_sample
from d2lite.utils.file_io import make_folder
from d2lite.utils.logger import setup_logger
from d2lite.visualization import write_picture

logger = logging.getLogger("d2lite.replay_batch")

_MARK = "  <- not finite"


def find_weights(args: argparse.Namespace, report: dict[str, Any]) -> str:
    """The weights of the step, or the last checkpoint before it; empty if there is none."""
    if args.weights:
        return str(args.weights)
    for key in ("weights", "last_checkpoint"):
        name = report.get(key)
        if name and (args.report.parent / name).is_file():
            return str(args.report.parent / name)
    return ""


def draw(cfg: CfgNode, batch: list[dict[str, Any]], folder: Path) -> None:
    """Write a picture of each sample."""
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    for number, sample in enumerate(batch):
        picture = draw_sample(sample, cfg.INPUT.FORMAT, metadata)
        path = folder / f"{number}_{Path(str(sample.get('file_name', 'sample'))).stem}.png"
        write_picture(path, picture)
    logger.info(f"Drew {len(batch)} images into {folder}")


def measure(
    title: str, model: nn.Module, batch: list[dict[str, Any]], report: dict[str, Any]
) -> None:
    """Log the losses of a batch, or what the model says when it finds none."""
    try:
        log_numbers(title, measure_batch(model, batch, report))
    except FloatingPointError as error:
        logger.info(f"{title}: {error}{_MARK}")


def log_numbers(title: str, numbers: dict[str, float]) -> None:
    """One line, with the names of what is not finite at its end."""
    values = ", ".join(f"{name} {value:.5g}" for name, value in numbers.items())
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    logger.info(f"{title}: {values}" + (f"{_MARK}: {', '.join(bad)}" if bad else ""))


def replay(args: argparse.Namespace) -> None:
    """Replay."""
    setup_logger()
    report = read_report(args.report)
    config = args.config_file or str(args.report.parent / report["config"])
    cfg = setup_cfg(config, args.opts or (), args.imports)
    folder = make_folder(args.output or args.report.with_suffix(""), "--output")
    batch = load_reported_batch(cfg, report, DefaultTrainer.build_train_loader)
    draw(cfg, batch, folder)
    model = DefaultTrainer.build_model(cfg)
    weights = find_weights(args, report)
    logger.info(f"Weights: {weights or 'random, since there are none'}")
    if weights:
        DetectionCheckpointer(model).load(weights, checkpointables=[])
    if report["losses"]:
        log_numbers("In the run", report["losses"])
    else:
        logger.info(f"In the run: {report['failure']}{_MARK}")
    measure("Now", model, batch, report)
    for sample in batch:
        measure(f"{sample.get('file_name', '?')} alone", model, [sample], report)
