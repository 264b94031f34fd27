"""Resume a run: find its checkpoint, refuse one that does not fit, and load it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from d2lite.checkpoint import Checkpointer
from d2lite.checkpoint.folder import remove_leftovers
from d2lite.checkpoint.matching import LoadReport
from d2lite.checkpoint.reading import read_checkpoint, stored_class_names
from d2lite.config import CfgNode
from d2lite.solver import LRMultiplier, LRScheduler
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, UserError, WeightsError

from .. import hooks
from .checkpoint_peek import class_names_of_weights
from .run_facts import (
    collect_run_facts,
    describe_changes,
    is_readable_config,
    list_refused_changes,
)
from .state_check import check_run_state

logger = logging.getLogger(__name__)

# What a config sets in an optimizer's groups; other entries choose how torch computes.
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
    """Read the checkpoint that a run continues from; all processes get the same one.

    Args:
        checkpointer: of the folder of the run.
        resume: the path of a checkpoint, or True for the newest one of the folder that can be
            read.

    Returns:
        Its path and content; None if there is nothing to continue from.

    Raises:
        MissingFileError: if the named file does not exist.
        WeightsError: if it cannot be read, or holds only weights.
    """
    if not resume:
        return None
    found = error = None
    if comm.is_main_process():
        try:
            found = _read_fitting(checkpointer, resume)
        except UserError as caught:
            # Raised by all, so that no process waits for one that has ended.
            error = caught
    path, error = comm.all_gather((found and found[0], error))[0]
    if error is not None:
        raise error
    if path is None:
        return None
    return found or (path, read_checkpoint(path))


def _read_fitting(
    checkpointer: Checkpointer, resume: bool | str
) -> tuple[str, dict[str, Any]] | None:
    own = {key: state.state_dict() for key, state in checkpointer.checkpointables.items()}
    if not isinstance(resume, str):
        return checkpointer.read_newest(lambda path, content: check_run_state(path, content, own))
    content = read_checkpoint(resume)
    if "trainer" not in content:
        raise WeightsError(
            f"{resume} holds weights but not the state of a run, so there is nothing to resume. To "
            "begin a run from these weights set MODEL.WEIGHTS to it and leave --resume out."
        )
    check_run_state(resume, content, own)
    return resume, content


def load_run(
    checkpointer: Checkpointer,
    cfg: CfgNode,
    resume: bool | str,
    *,
    class_names: Sequence[str] | None,
    max_iter: int,
    data_loader: Any,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler,
) -> tuple[int, list[str] | None]:
    """Load the checkpoint that a run continues from, or the weights that it begins with.

    Args:
        checkpointer: of the run; it loads the state of the trainer as well.
        cfg: the config of the run.
        resume: as in `find_checkpoint`.
        class_names: of the training data; None if there are none.
        max_iter: the number of steps of the run.
        data_loader: of the training, to compare its data with those of then.
        optimizer: gets the hyperparameters of `cfg` after its state is loaded.
        scheduler: of the optimizer.

    Returns:
        The number of steps that are made already, and the class names that came with the weights;
        None if they have none, or if the weights were fitted to the classes of the data.

    Raises:
        ConfigError: if the run cannot continue with this config or these data.
    """
    found = find_checkpoint(checkpointer, resume)
    if found is None:
        if resume:
            logger.info(f"Nothing to resume in {cfg.OUTPUT_DIR}: starting a new run")
        elif checkpointer.has_checkpoint():
            logger.warning(
                f"{cfg.OUTPUT_DIR} holds the checkpoints of an earlier run, which this run "
                "replaces when it saves its own. To keep them, press Ctrl-C now and give another "
                "OUTPUT_DIR, or --resume to continue that run."
            )
        loaded_classes = class_names_of_weights(cfg.MODEL.WEIGHTS)
        checkpointer.load(cfg.MODEL.WEIGHTS, checkpointables=[])
        return 0, _unless_fitted(checkpointer.report, loaded_classes)
    path, content = found
    state, extra = _mapping(content.get("trainer")), _mapping(content.get("d2lite"))
    made = int(state.get("iteration", -1)) + 1
    classes_then = stored_class_names(content)
    config_then = extra.get("config", "")
    if not is_readable_config(config_then):
        logger.warning(f"The config in {path} cannot be read, so its options are not compared")
        config_then = ""
    fix = (
        "Train into another OUTPUT_DIR; to begin from these weights give "
        f"MODEL.WEIGHTS {path} without --resume."
    )
    _refuse_other_classes(classes_then, class_names, cfg.OUTPUT_DIR, fix)
    if refused := list_refused_changes(config_then, cfg):
        listed = "\n".join(f"  {line}" for line in refused)
        raise ConfigError(f"{path} cannot be resumed with this config.\n{listed}\n{fix}")
    if made > max_iter:
        raise ConfigError(
            f"{path} has made {made} iterations, and SOLVER.MAX_ITER is {max_iter}. Set it to "
            f"more than {made} to continue, or take an earlier checkpoint by --resume FILE."
        )
    facts_now = collect_run_facts(data_loader)
    changes = describe_changes(_mapping(state.get("run")), facts_now, config_then, cfg)
    fresh_groups = [_hyperparameters(group) for group in optimizer.param_groups]
    checkpointer.load(path, content=dict(content))
    _refuse_other_weights(checkpointer.report, path)
    _follow_new_hyperparameters(optimizer, scheduler, fresh_groups)
    logger.info(f"Resumed from {path}, going on at iteration {made}")
    if changes:
        listed = "\n".join(f"  {line}" for line in changes)
        logger.warning(f"Changed since the run was saved:\n{listed}")
    if comm.is_main_process():
        _prepare_folder(checkpointer, path)
    return made, _unless_fitted(checkpointer.report, classes_then)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _unless_fitted(report: LoadReport | None, loaded: list[str] | None) -> list[str] | None:
    return None if report is not None and report.kept_classes is not None else loaded


def _refuse_other_classes(
    then: Sequence[str] | None, now: Sequence[str] | None, output_dir: str, fix: str
) -> None:
    if then and list(then) != list(now or ()):
        raise ConfigError(
            f"The run in OUTPUT_DIR {output_dir!r} cannot be resumed on these data.\n"
            f"{hooks.describe_class_change(then, now or [])}\n{fix}"
        )


def _refuse_other_weights(report: LoadReport | None, path: str) -> None:
    """Refuse a checkpoint without some weights of the model, which would begin random."""
    if report is None or not (report.missing or report.other_shape):
        return
    raise ConfigError(
        f"{path} does not fit the model of this config, so the run cannot continue: {report}\n"
        "Give the config that the run began with (config.yaml beside the checkpoint); to begin "
        f"from these weights give MODEL.WEIGHTS {path} without --resume."
    )


def _hyperparameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: group[key] for key in _HYPERPARAMETERS if key in group}


def _follow_new_hyperparameters(
    optimizer: torch.optim.Optimizer, scheduler: LRScheduler, fresh_groups: list[dict[str, Any]]
) -> None:
    """Replace the hyperparameters of the saved optimizer state by those of the present config."""
    for group, fresh in zip(optimizer.param_groups, fresh_groups, strict=True):
        group.update(fresh)
    if not isinstance(scheduler, LRMultiplier):
        # Other schedules compute a rate from the one before, so they keep the saved one.
        return
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
        group["lr"] = rate


def _prepare_folder(checkpointer: Checkpointer, path: str) -> None:
    """Remove files of interrupted saves, and note this checkpoint as the last one."""
    folder = Path(checkpointer.save_dir)
    remove_leftovers(folder)
    if Path(path).resolve().parent == folder.resolve():
        # A kill before the next save must lead back here, not to a later file.
        checkpointer.tag_last_checkpoint(Path(path).name)


def describe_stop(made: int, max_iter: int, *, is_saved: bool, checkpoint: str) -> str:
    """Say how far a run came that was stopped, and how to continue.

    Args:
        made: the number of steps that are made.
        max_iter: the number of steps of the run.
        is_saved: whether a checkpoint of the last step was written, if one was due.
        checkpoint: path of the last checkpoint; "" for none.
    """
    text = f"Stopped after {made} of {max_iter} iterations"
    if not is_saved:
        text += ", which could not be saved; older checkpoints are complete"
    if not checkpoint:
        return text
    return (
        f"{text}. To continue from {checkpoint}, give the same command with --resume, before any "
        "KEY VALUE pairs."
    )
