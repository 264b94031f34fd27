"""The hooks of a run that a config describes: around the step, saving, evaluation, writing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from d2lite.checkpoint import Checkpointer
from d2lite.config import CfgNode
from d2lite.data.dataset_dicts import counted_classes
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import EventWriter

from .. import hooks
from ..evaluating import build_validation_loaders
from ..trainer_base import HookBase, TrainerBase


def step_hooks(
    model: nn.Module,
    test: CfgNode,
    *,
    batches_per_epoch: float | None,
    class_check: hooks.ClassCheckHook | None,
    weight_average: hooks.WeightAverage | None,
    build_train_loader: Callable[[], Iterable[Any]],
) -> list[HookBase | None]:
    """Make the hooks that belong to the step itself and so come before any saving.

    Args:
        model: that is trained.
        test: the section TEST.
        batches_per_epoch: batches that show every image once; None if that is not known.
        class_check: compares the classes of data and model; None without classes.
        weight_average: of the model; None for none.
        build_train_loader: makes another loader of training batches.

    Returns:
        Hooks, and None where the config needs none.
    """
    measures_bn = test.PRECISE_BN.ENABLED and hooks.get_training_bn_layers(model)
    return [
        class_check,
        hooks.UnusedWeightsCheck(model) if hooks.UnusedWeightsCheck.suits(model) else None,
        hooks.IterationTimer(),
        hooks.LRScheduler(),
        None if batches_per_epoch is None else hooks.EpochCounter(batches_per_epoch),
        # Before precise batch norm, whose statistics must be those of the averaged weights.
        None if weight_average is None else hooks.WeightAveraging(weight_average),
        hooks.PreciseBN(
            test.EVAL_PERIOD,
            model,
            # A loader of its own: it must not take batches away from the training.
            build_train_loader(),
            test.PRECISE_BN.NUM_ITER,
            weights=weight_average.applied if weight_average else nullcontext,
        )
        if measures_bn
        else None,
    ]


def saving_hooks(solver: CfgNode, checkpointer: Checkpointer) -> list[HookBase | None]:
    """Make the hook that saves at SOLVER.CHECKPOINT_PERIOD.

    Args:
        solver: the section SOLVER.
        checkpointer: of the run.
    """
    if not _saves(checkpointer):
        return []
    return [
        hooks.PeriodicCheckpointer(
            checkpointer,
            solver.CHECKPOINT_PERIOD,
            max_to_keep=solver.CHECKPOINT_MAX_TO_KEEP or None,
            stops_run=solver.STOP_ON_SAVE_ERROR,
        )
    ]


def _saves(checkpointer: Checkpointer) -> bool:
    """Whether this process takes part in saving: the main one, or all that hold a part."""
    return comm.is_main_process() or checkpointer.collect is not None


def evaluation_hooks(
    solver: CfgNode,
    test: CfgNode,
    dataset_names: Sequence[str],
    checkpointer: Checkpointer,
    *,
    evaluate: Callable[[], Any],
    evaluate_augmented: Callable[[], Any],
    measure_losses: Callable[[Mapping[str, Iterable[Any]]], Mapping[str, Mapping[str, float]]],
    build_validation_loader: Callable[[str], Iterable[Any]],
) -> list[HookBase | None]:
    """Make the hooks that evaluate, and those that act on the results.

    Args:
        solver: the section SOLVER.
        test: the section TEST.
        dataset_names: DATASETS.TEST.
        checkpointer: of the run.
        evaluate: evaluates on DATASETS.TEST.
        evaluate_augmented: does the same with test-time augmentation.
        measure_losses: returns the losses on each dataset, given its loader.
        build_validation_loader: makes the loader of one dataset.
    """
    built: list[HookBase | None] = []
    if len(dataset_names):
        built.append(hooks.EvalHook(test.EVAL_PERIOD, evaluate))
        if test.AUG.ENABLED:
            # At the end alone: it takes as long as some twenty evaluations.
            built.append(hooks.EvalHook(0, evaluate_augmented))
    if loaders := build_validation_loaders(
        dataset_names, test.LOSS_PERIOD, build_validation_loader
    ):
        measure = partial(measure_losses, loaders)
        built.append(hooks.ValidationLoss(test.LOSS_PERIOD, measure))
    best, stopping = solver.BEST_CHECKPOINT, solver.EARLY_STOPPING
    if _saves(checkpointer) and best.METRIC:
        period = _measuring_period(test, best.METRIC)
        built.append(
            hooks.BestCheckpointer(
                period,
                checkpointer,
                best.METRIC,
                best.MODE,
                stops_run=solver.STOP_ON_SAVE_ERROR,
            )
        )
    if stopping.METRIC:
        built.append(
            hooks.EarlyStopping(
                _measuring_period(test, stopping.METRIC),
                stopping.METRIC,
                stopping.MODE,
                patience=stopping.PATIENCE,
                min_delta=stopping.MIN_DELTA,
            )
        )
    return built


def _measuring_period(test: CfgNode, metric: str) -> int:
    """Steps between two measurements of a metric; 0 for the end alone."""
    if "validation/" not in metric:
        return int(test.EVAL_PERIOD)
    if not test.LOSS_PERIOD:
        raise ConfigError(
            f"The metric {metric!r} is a validation loss, and TEST.LOSS_PERIOD 0 measures none. "
            "Set TEST.LOSS_PERIOD to a number of iterations."
        )
    return int(test.LOSS_PERIOD)


def writing_hooks(
    period: int, train_sets: Sequence[str], build_writers: Callable[[], Sequence[EventWriter]]
) -> list[HookBase | None]:
    """Make the hooks that write scalars and the histogram of classes, in the main process.

    Args:
        period: LOG_PERIOD, steps between two records.
        train_sets: DATASETS.TRAIN.
        build_writers: makes the writers when training begins.
    """
    if not comm.is_main_process():
        return []
    return [
        hooks.CallbackHook(before_train=partial(_put_class_histogram, train_sets)),
        hooks.PeriodicWriter(build_writers, period=period),
    ]


def _put_class_histogram(train_sets: Sequence[str], trainer: TrainerBase) -> None:
    """Objects of each class of the training data, by class number; once in a run."""
    counts = [row["objects"] for row in counted_classes(train_sets) or ()]
    if trainer.start_iter == 0 and len(counts) > 1 and sum(counts):
        ids = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        trainer.storage.put_histogram("data/objects_of_class", ids, bins=len(counts))
