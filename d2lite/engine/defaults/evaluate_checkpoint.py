"""evaluate_checkpoint: what --eval-only does."""

import logging
from typing import Any

from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode, PythonRunConfig, as_run_config
from d2lite.evaluation import verify_results
from d2lite.evaluation.build import evaluator_type
from d2lite.modeling.compiling import compile_parts_
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

from ..derived_config import ClassKey, load_test_classes, name_classes
from ..evaluating import evaluate_augmented
from ..reports import report_run
from ..resuming import class_names_of_weights
from .trainer import DefaultTrainer

logger = logging.getLogger(__name__)


def require_test_sets(cfg: CfgNode) -> None:
    """Refuse to evaluate on nothing, or on what is not there, before a model is made.

    Args:
        cfg: the whole config.

    Raises:
        UserError: if DATASETS.TEST is empty, or one of its sets cannot be loaded.
    """
    if not len(cfg.DATASETS.TEST):
        raise ConfigError(
            "DATASETS.TEST is empty, so there is nothing to evaluate on. Name a set at the end "
            "of the command, for instance DATASETS.TEST \"('shapes_val',)\"."
        )
    if not isinstance(cfg, PythonRunConfig):
        load_test_classes(cfg.DATASETS.TEST)


def evaluate_checkpoint(cfg: CfgNode, *, resume: bool | str = False) -> dict[str, Any]:
    """Build the model of a config, load its weights and evaluate it on DATASETS.TEST.

    Args:
        cfg: MODEL.WEIGHTS is loaded; a number of classes that nobody set follows from the class
            names in that file, or from the data if it has none.
        resume: load the last checkpoint of OUTPUT_DIR instead, if there is one; or the one whose
            path this is.

    Returns:
        What `DefaultTrainer.test` returns.

    Raises:
        ConfigError: if there is no dataset to evaluate on.
        UserError: if the results are not those of TEST.EXPECTED_RESULTS.
    """
    cfg = as_run_config(cfg)
    require_test_sets(cfg)
    if not isinstance(cfg, PythonRunConfig):
        for name in cfg.DATASETS.TEST:
            evaluator_type(name)
    # The file is found before the model is built, since it may say how many classes that has.
    last = resume if isinstance(resume, str) else ""
    if resume and not last:
        last = DetectionCheckpointer(nn.Module(), cfg.OUTPUT_DIR).get_checkpoint_file()
    weights = last or cfg.MODEL.WEIGHTS
    class_names = class_names_of_weights(weights)
    ClassKey.of(cfg).follow(class_names, weights)
    model = DefaultTrainer.build_model(cfg)
    name_classes(model, class_names)
    if cfg.MODEL.COMPILE:
        compile_parts_(model)
    DetectionCheckpointer(model).load(weights)
    if not weights:
        logger.warning("The weights that are evaluated are random; set MODEL.WEIGHTS")
    results = DefaultTrainer.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(evaluate_augmented(DefaultTrainer, cfg, model))
    if comm.is_main_process():
        report = report_run(cfg, results, is_eval=True)
        if report is not None:
            logger.info(f"Report: {report}")
        verify_results(cfg, results)
    return results
