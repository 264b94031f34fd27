"""Going on with a run: which checkpoint, whether it fits, and what has changed since."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from d2lite.checkpoint import Checkpointer
from d2lite.checkpoint.folder import remove_leftovers
from d2lite.checkpoint.matching import LoadReport
from d2lite.checkpoint.reading import read_checkpoint
from d2lite.solver import LRMultiplier
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, UserError, WeightsError

from .. import hooks
from ..defaults.built_run import BuiltRun
from .checkpoint_peek import class_names_of_weights
from .run_facts import collect_run_facts, describe_changes, list_refused_changes

logger = logging.getLogger(__name__)

# What a config says of an optimizer's groups; the rest of a group is how torch computes.
_HYPERPARAMETERS = (
    "initial_lr",
    "weight_decay",
    "momentum",
    "dampening",
    "nesterov",
    "betas",
    "eps",
)


def find_checkpoint(
    checkpointer: Checkpointer, resume: bool | str
) -> tuple[str, dict[str, Any]] | None:
    """Read the checkpoint that a run goes on from; all processes get the same one.

    Args:
        checkpointer: knows the folder of the run.
        resume: the path of a checkpoint, or True for the newest one of the folder that can be
            read.

    Returns:
        Its path and content; None if there is nothing to go on from.

    Raises:
        MissingFileError: if the file that was named is not there.
        WeightsError: if it cannot be read, or holds weights alone.
    """
    if not resume:
        return None
    found = error = None
    if comm.is_main_process():
        try:
            found = _read_named(resume) if isinstance(resume, str) else checkpointer.read_newest()
        except UserError as caught:
            # Raised by all, so that nobody waits for a process that is gone.
            error = caught
    path, error = comm.all_gather((found and found[0], error))[0]
    if error is not None:
        raise error
    if path is None:
        return None
    return found or (path, read_checkpoint(path))


def _read_named(path: str) -> tuple[str, dict[str, Any]]:
    content = read_checkpoint(path)
    if not isinstance(content.get("trainer"), Mapping):
        raise WeightsError(
            f"{path} holds weights but not the state of a run, so there is nothing to resume. To "
            "begin a run from these weights set MODEL.WEIGHTS to it and leave --resume out."
        )
    return path, content


def resume_or_begin(trainer: BuiltRun, resume: bool | str) -> None:
    """Load what a run goes on from, or the weights that it begins with.

    Args:
        trainer: built, and not yet trained.
        resume: as in `find_checkpoint`.

    Raises:
        ConfigError: if the run cannot go on with this config or these data.
    """
    cfg, checkpointer = trainer.cfg, trainer.checkpointer
    found = find_checkpoint(checkpointer, resume)
    if found is None:
        if resume:
            logger.info(f"Nothing to resume in {cfg.OUTPUT_DIR}: starting anew")
        loaded_classes = class_names_of_weights(cfg.MODEL.WEIGHTS)
        checkpointer.load(cfg.MODEL.WEIGHTS, checkpointables=[])
        _tell_class_check(trainer, loaded_classes)
        return
    path, content = found
    state = content.get("trainer")
    state = state if isinstance(state, Mapping) else {}
    extra = content.get("d2lite")
    extra = extra if isinstance(extra, Mapping) else {}
    _refuse_other_run(trainer, path, state, extra)
    changes = describe_changes(
        state.get("run", {}),
        collect_run_facts(trainer.data_loader),
        extra.get("config", ""),
        cfg,
    )
    fresh_groups = [_hyperparameters(group) for group in trainer.optimizer.param_groups]
    checkpointer.load(path, content=dict(content))
    _refuse_other_weights(checkpointer.report, path)
    _follow_new_hyperparameters(trainer, fresh_groups)
    trainer.start_iter = trainer.iter + 1
    logger.info(f"Resumed from {path}: going on at iteration {trainer.start_iter}")
    if changes:
        listed = "\n".join(f"  {line}" for line in changes)
        logger.warning(f"Changed since the run was saved:\n{listed}")
    if comm.is_main_process():
        _prepare_folder(checkpointer, path)
    _tell_class_check(trainer, extra.get("class_names"))


def _refuse_other_run(
    trainer: BuiltRun, path: str, state: Mapping[str, Any], extra: Mapping[str, Any]
) -> None:
    cfg = trainer.cfg
    mend = (
        "Train into another OUTPUT_DIR; to begin from these weights give "
        f"MODEL.WEIGHTS {path} without --resume."
    )
    classes = list(extra.get("class_names") or ())
    if classes and classes != (trainer.class_names or []):
        raise ConfigError(
            f"The run in OUTPUT_DIR {cfg.OUTPUT_DIR!r} cannot be resumed on these data.\n"
            f"{hooks.describe_class_change(classes, trainer.class_names or [])}\n{mend}"
        )
    refused = list_refused_changes(extra.get("config", ""), cfg)
    if refused:
        listed = "\n".join(f"  {line}" for line in refused)
        raise ConfigError(f"{path} cannot be resumed with this config.\n{listed}\n{mend}")
    made = int(state.get("iteration", -1)) + 1
    if made > trainer.max_iter:
        raise ConfigError(
            f"{path} has made {made} iterations, and SOLVER.MAX_ITER is {trainer.max_iter}. Set "
            f"it to more than {made} to go on, or take an earlier checkpoint by --resume FILE."
        )


def _refuse_other_weights(report: LoadReport | None, path: str) -> None:
    """A run that goes on with a part of its weights drawn anew is none."""
    if report is None or not (report.missing or report.other_shape):
        return
    raise ConfigError(
        f"{path} does not fit the model of this config, so the run cannot go on: {report}\n"
        "Give the config that the run began with (config.yaml beside the checkpoint); to begin "
        f"from these weights give MODEL.WEIGHTS {path} without --resume."
    )


def _hyperparameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: group[key] for key in _HYPERPARAMETERS if key in group}


def _follow_new_hyperparameters(trainer: BuiltRun, fresh_groups: list[dict[str, Any]]) -> None:
    """Let the config of now rule where the optimizer's saved state has that of then."""
    optimizer: torch.optim.Optimizer = trainer.optimizer
    for group, fresh in zip(optimizer.param_groups, fresh_groups, strict=True):
        group.update(fresh)
    scheduler = trainer.scheduler
    if not isinstance(scheduler, LRMultiplier):
        # Other schedules compute a rate from the one before: theirs stays that of then.
        return
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
        group["lr"] = rate


def _prepare_folder(checkpointer: Checkpointer, path: str) -> None:
    """Make the folder that of a run which stands at this checkpoint."""
    folder = Path(checkpointer.save_dir)
    remove_leftovers(folder)
    if Path(path).resolve().parent == folder.resolve():
        # A kill before the next save must lead back here, not to a later file.
        checkpointer.tag_last_checkpoint(Path(path).name)


def _tell_class_check(trainer: BuiltRun, loaded_classes: list[str] | None) -> None:
    report = trainer.checkpointer.report
    if report is not None and report.kept_classes is not None:
        return
    for hook in trainer._hooks:
        if isinstance(hook, hooks.ClassCheckHook):
            hook.loaded_classes = loaded_classes


def describe_stop(trainer: BuiltRun) -> str:
    """Say where a run that was stopped stands, and how to go on.

    Args:
        trainer: of the run.
    """
    made, checkpointer = trainer.iter + 1, trainer.checkpointer
    savers = [hook for hook in trainer._hooks if isinstance(hook, hooks.PeriodicCheckpointer)]
    text = f"Stopped after {made} of {trainer.max_iter} iterations"
    if savers and not any(hook.saved_iter == trainer.iter for hook in savers):
        text += ", which could not be saved; what was saved before is whole"
    file = checkpointer.get_checkpoint_file()
    return f"{text}. To go on from {file}, give the same command with --resume." if file else text


def take_seed(trainer: BuiltRun, seed: int | None) -> None:
    """Go on with the seed that the run began with, unless a person set another.

    Args:
        trainer: of the run.
        seed: of the checkpoint; None if it holds none.
    """
    if seed is None or seed == trainer.seed:
        return
    if not trainer.cfg.origin("SEED").startswith("derived"):
        logger.warning(
            f"SEED was {seed} when the run began and is {trainer.seed} now: from here on the "
            "samples are others than those of a run that was never stopped"
        )
        return
    trainer.cfg.derive("SEED", seed, "drawn before the resume")
    trainer.seed = trainer._trainer.seed = seed
    trainer._trainer.reset_data_loader(lambda: trainer.build_train_loader(trainer.cfg))
