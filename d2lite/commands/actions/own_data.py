"""follow_data: from a folder of photographs to the config of a training."""

import argparse
import logging
from pathlib import Path

import torch

from d2lite.config import CfgNode, PythonRunConfig, annotated_yaml, get_cfg
from d2lite.engine import setup_cfg
from d2lite.engine.defaults import local_output_dir
from d2lite.projects import without_unused_project_keys
from d2lite.recipes import (
    RECIPES,
    Decision,
    Setting,
    TrainAndTest,
    apply_setting,
    explain,
    find_sets,
    gather_facts,
    make_recipe,
)
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import write_file
from d2lite.utils.logger import setup_logger

from .memory_probe import measure_memory

logger = logging.getLogger(__name__)

_FILE = "recipe.yaml"


def follow_data(args: argparse.Namespace) -> None:
    """Write OUTPUT_DIR/recipe.yaml, and let it be the config file of the run.

    Args:
        args: of `d2lite train`; `config_file` is set in place.
    """
    setup_logger()
    cfg, made = config_for_data(args)
    path = local_output_dir(cfg.OUTPUT_DIR, fetch=bool(args.resume)) / _FILE
    if args.resume and path.is_file():
        logger.info(f"The run continues with the config of {path}, as it was written then")
        stored = setup_cfg(str(path), imports=args.imports).DATASETS.TRAIN
        if tuple(stored) != tuple(cfg.DATASETS.TRAIN):
            logger.warning(
                f"It continues on its own data, {', '.join(stored)}, and not on "
                f"{', '.join(cfg.DATASETS.TRAIN)}. For these leave out --resume and name another "
                "OUTPUT_DIR."
            )
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, recipe_text(cfg, made, args.imports))
        logger.info(f"The config follows from the data; edit {path} to change it:\n{explain(made)}")
    args.config_file = str(path)


def config_for_data(args: argparse.Namespace) -> tuple[CfgNode, list[Decision]]:
    """The config of a run on `args.subject`, or with --auto on the sets of the config.

    Args:
        args: with subject, config_file, recipe, auto, imports and opts.

    Returns:
        The config, and what each rule has decided.

    Raises:
        ConfigError: for a Python config, whose parts have no keys to set.
    """
    # First: a word that is not data may be a KEY that was written wrongly.
    sets = None if args.subject is None else find_sets(args.subject)
    recipe = args.recipe or ("balanced" if torch.cuda.is_available() else "fast")
    has_model = bool(args.config_file)
    cfg = setup_cfg(args.config_file or RECIPES[recipe], args.opts, args.imports)
    if isinstance(cfg, PythonRunConfig):
        raise ConfigError(
            f"{args.config_file} is a Python config, which names its data in dataloader.train. Set "
            "dataloader.train.dataset.names=..., without DATA and --auto."
        )
    words = [word for word in args.opts if word != "--"]
    pinned = words[::2]
    sets = sets or TrainAndTest(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, "the config names them")
    names = {"DATASETS.TRAIN": tuple(sets.train), "DATASETS.TEST": tuple(sets.test)}
    shown = f"train on {', '.join(sets.train)}, evaluate on {', '.join(sets.test) or 'nothing'}"
    made = [apply_setting(cfg, Setting("data", names, shown, sets.evidence), pinned)]
    if not has_model:
        folder = f"output/{_stem(args.subject or 'own')}"
        one = Setting("output", {"OUTPUT_DIR": folder}, folder, "it is named after the data")
        made.append(apply_setting(cfg, one, pinned))
    if args.auto or not has_model:
        facts = gather_facts(
            cfg.DATASETS.TRAIN,
            has_test=len(cfg.DATASETS.TEST) > 0,
            processes=_processes(args),
            measure_memory=measure_memory,
        )
        made += make_recipe(cfg, facts, recipe, pinned=pinned, has_model=has_model)
    return cfg, made


def recipe_text(cfg: CfgNode, made: list[Decision], imports: list[str]) -> str:
    """YAML that gives the config again, after the reasons as comments."""
    shown = without_unused_project_keys(cfg, get_cfg())
    reasons = "".join(f"# {line}\n" for line in explain(made).splitlines())
    return reasons + annotated_yaml(shown, only_diff=True, base=setup_cfg(imports=imports))


def _processes(args: argparse.Namespace) -> int:
    return max(getattr(args, "num_gpus", 1), 1) * max(getattr(args, "num_machines", 1), 1)


def _stem(subject: str) -> str:
    path = subject.partition(":")[2] or subject
    place = Path(path.partition("?")[0].partition("@")[0]).resolve()
    # The data.yaml of a folder is called so in every folder.
    name = place.parent.name if place.name in ("data.yaml", "obj.data") else place.stem
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name) or "own"
