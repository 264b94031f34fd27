"""build_run_hooks: the hooks of a run that a config describes, in the order in which they work."""

import weakref
from contextlib import nullcontext

from d2lite.config import CfgNode
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

from .. import hooks
from ..derived_config.checks import load_test_classes
from ..derived_config.classes import get_num_classes, num_classes_key
from ..derived_config.epochs import epoch_length
from ..evaluating.validation_data import build_validation_hook
from ..trainer_base import HookBase
from .built_run import BuiltRun

# Steps between two writings of scalars, on the console and in the files.
_WRITE_PERIOD = 20


def build_run_hooks(trainer: BuiltRun) -> list[HookBase | None]:
    """Make the hooks of a run, in the order in which they work.

    Args:
        trainer: its config, model and checkpointer are built already.

    Returns:
        Hooks; None stands for one that this run or this process does not need.
    """
    return [
        *_step_hooks(trainer),
        *_saving_hooks(trainer),
        *_evaluation_hooks(trainer),
        *_writing_hooks(trainer),
    ]


def _step_hooks(trainer: BuiltRun) -> list[HookBase | None]:
    """What belongs to the step itself: it must have happened before anything is saved."""
    return [
        _build_class_check(trainer),
        hooks.IterationTimer(),
        hooks.LRScheduler(),
        _build_epoch_counter(trainer),
        # Before precise batch norm, whose statistics have to be those of the averaged weights.
        hooks.WeightAveraging(trainer.weight_average) if trainer.weight_average else None,
        _build_precise_bn(trainer),
    ]


def _saving_hooks(trainer: BuiltRun) -> list[HookBase | None]:
    """Save before evaluating: if evaluation dies, the weights it died on are on disk."""
    if not _saves(trainer):
        return []
    solver = trainer.cfg.SOLVER
    max_to_keep = solver.CHECKPOINT_MAX_TO_KEEP or None
    return [
        hooks.PeriodicCheckpointer(
            trainer.checkpointer,
            solver.CHECKPOINT_PERIOD,
            max_to_keep=max_to_keep,
            stops_run=solver.STOP_ON_SAVE_ERROR,
        )
    ]


def _saves(trainer: BuiltRun) -> bool:
    """Whether this process takes part in saving: the main one, or all that hold a part."""
    return comm.is_main_process() or trainer.checkpointer.collect is not None


def _evaluation_hooks(trainer: BuiltRun) -> list[HookBase | None]:
    """Evaluation, and what follows from its results."""
    cfg = trainer.cfg
    # A hook that held the trainer itself would keep it alive in a circle.
    weak = weakref.proxy(trainer)
    built: list[HookBase | None] = []
    if len(cfg.DATASETS.TEST):
        built.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, lambda: weak._evaluate()))
        if cfg.TEST.AUG.ENABLED:
            # At the end alone: it takes as long as some twenty evaluations.
            built.append(hooks.EvalHook(0, lambda: weak._evaluate_augmented()))
    built.append(build_validation_hook(trainer))
    best, stopping = cfg.SOLVER.BEST_CHECKPOINT, cfg.SOLVER.EARLY_STOPPING
    if _saves(trainer) and best.METRIC:
        period = _measuring_period(cfg, best.METRIC)
        built.append(
            hooks.BestCheckpointer(
                period,
                trainer.checkpointer,
                best.METRIC,
                best.MODE,
                stops_run=cfg.SOLVER.STOP_ON_SAVE_ERROR,
            )
        )
    if stopping.METRIC:
        built.append(
            hooks.EarlyStopping(
                _measuring_period(cfg, stopping.METRIC),
                stopping.METRIC,
                stopping.MODE,
                patience=stopping.PATIENCE,
                min_delta=stopping.MIN_DELTA,
            )
        )
    return built


def _measuring_period(cfg: CfgNode, metric: str) -> int:
    """Steps between two measurements of a metric; 0 for the end alone."""
    if "validation/" not in metric:
        return int(cfg.TEST.EVAL_PERIOD)
    if not cfg.TEST.LOSS_PERIOD:
        raise ConfigError(
            f"The metric {metric!r} is a validation loss, and TEST.LOSS_PERIOD 0 measures none. "
            "Set TEST.LOSS_PERIOD to a number of iterations."
        )
    return int(cfg.TEST.LOSS_PERIOD)


def _writing_hooks(trainer: BuiltRun) -> list[HookBase | None]:
    """Last, so that they see what all others have written."""
    if not comm.is_main_process():
        return []
    weak = weakref.proxy(trainer)
    return [hooks.PeriodicWriter(lambda: weak.build_writers(), period=_WRITE_PERIOD)]


def _build_class_check(trainer: BuiltRun) -> HookBase | None:
    if trainer.class_names is None:
        return None
    return hooks.ClassCheckHook(
        trainer.class_names,
        get_num_classes(trainer.cfg),
        key=num_classes_key(trainer.cfg) or "NUM_CLASSES",
        test_classes=load_test_classes(trainer.cfg.DATASETS.TEST, trainer.class_names),
    )


def _build_epoch_counter(trainer: BuiltRun) -> HookBase | None:
    length = epoch_length(trainer.data_loader)
    return None if length is None else hooks.EpochCounter(length)


def _build_precise_bn(trainer: BuiltRun) -> HookBase | None:
    precise_bn = trainer.cfg.TEST.PRECISE_BN
    if not precise_bn.ENABLED or not hooks.get_training_bn_layers(trainer.model):
        return None
    average = trainer.weight_average
    return hooks.PreciseBN(
        trainer.cfg.TEST.EVAL_PERIOD,
        trainer.model,
        # A loader of its own: it must not take batches away from the training.
        trainer.build_train_loader(trainer.cfg),
        precise_bn.NUM_ITER,
        weights=average.applied if average else nullcontext,
    )
