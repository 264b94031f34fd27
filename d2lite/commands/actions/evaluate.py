"""What `d2lite eval` does: evaluate a trained model that is named by one path."""

import argparse
from pathlib import Path

from d2lite.config import CfgNode
from d2lite.engine import DefaultTrainer, default_setup, evaluate_checkpoint, setup_cfg
from d2lite.engine.defaults import require_test_sets
from d2lite.export import EXPORTED_SUFFIXES, ExportedModel
from d2lite.predicting.ensemble import Ensemble
from d2lite.predicting.exported_predictor import load_predictor
from d2lite.predicting.model_source import model_config
from d2lite.utils.errors import ConfigError

_OUTPUT = ("OUTPUT_DIR", "train.output_dir=")


def evaluate(args: argparse.Namespace) -> None:
    """What one process does; every process of a distributed run calls it."""
    cfg = _config(args)
    default_setup(cfg, args)
    if args.ensemble:
        require_test_sets(cfg)
        others = [model_config(run, (), args.imports) for run in args.ensemble]
        for other in others:
            other.MODEL.DEVICE = cfg.MODEL.DEVICE
        members = [load_predictor(one) for one in (cfg, *others)]
        DefaultTrainer.test(cfg, Ensemble(members, cfg.TEST.DETECTIONS_PER_IMAGE))
        return
    if cfg.MODEL.WEIGHTS.endswith(EXPORTED_SUFFIXES):
        require_test_sets(cfg)
        DefaultTrainer.test(cfg, ExportedModel(cfg.MODEL.WEIGHTS))
        return
    evaluate_checkpoint(cfg, resume=False)


def _config(args: argparse.Namespace) -> CfgNode:
    if args.subject is None:
        return setup_cfg(args.config_file, args.opts, args.imports)
    if args.config_file:
        raise ConfigError(
            f"Give RUN ({args.subject}), which has its config, or --config-file with MODEL.WEIGHTS "
            f"{args.subject} at the end."
        )
    cfg = model_config(args.subject, args.opts, args.imports)
    run = Path(args.subject)
    if run.exists() and not any(word.startswith(_OUTPUT) for word in args.opts):
        # Where the run is now, and not where it was when it was trained.
        folder = run if run.is_dir() else run.parent
        cfg.derive("OUTPUT_DIR", str(folder), "the folder of the run")
        beside = folder / "config.yaml"
        if not cfg.DATASETS.TEST and beside.is_file():
            # A checkpoint does not say where data of one machine are; the run's folder does.
            sets = setup_cfg(str(beside), imports=args.imports).DATASETS.TEST
            cfg.derive("DATASETS.TEST", tuple(sets), f"those of {beside}")
    return cfg
