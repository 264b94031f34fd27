"""evaluate_datasets: what `DefaultTrainer.test` does."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

from ..derived_config import check_test_classes
from ..stepping import out_of_memory_in_evaluation

logger = logging.getLogger(__name__)


def evaluate_datasets(
    cfg: CfgNode,
    model: nn.Module,
    evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    *,
    build_loader: Callable[[CfgNode, str], Iterable[Any]],
    build_evaluator: Callable[[CfgNode, str], DatasetEvaluator],
) -> dict[str, Any]:
    """Evaluate a model on every set of DATASETS.TEST.

    Args:
        cfg: the config.
        model: the model; its mode is restored afterwards.
        evaluators: one for each set; None for those of `build_evaluator`.
        build_loader: makes the loader of a set.
        build_evaluator: makes the evaluator of a set; NotImplementedError leaves the set out.

    Returns:
        The results {task: {metric: value}} of the one set, or {set: results} of several.

    Raises:
        ConfigError: if there is not one evaluator for each dataset, or its classes do not fit.
    """
    if isinstance(evaluators, DatasetEvaluator):
        evaluators = [evaluators]
    names = cfg.DATASETS.TEST
    if evaluators is not None and len(evaluators) != len(names):
        raise ConfigError(
            f"{len(evaluators)} evaluators were given for the {len(names)} sets of "
            f"DATASETS.TEST {tuple(names)}; give one for each."
        )
    results: dict[str, Any] = {}
    for number, name in enumerate(names):
        check_test_classes(cfg, name, getattr(comm.unwrap(model), "class_names", None))
        try:
            evaluator = evaluators[number] if evaluators else build_evaluator(cfg, name)
        except NotImplementedError as error:
            logger.warning(f"{name} is not evaluated: {error}")
            results[name] = {}
            continue
        loader = build_loader(cfg, name)
        try:
            found = inference_on_dataset(model, loader, evaluator, log_period=cfg.TEST.LOG_PERIOD)
        except torch.cuda.OutOfMemoryError as error:
            raise out_of_memory_in_evaluation(error, name) from error
        results[name] = found
        if comm.is_main_process():
            logger.info(f"Results on {name}, in csv format:")
            print_csv_format(found)
    return next(iter(results.values())) if len(results) == 1 else results
