"""Evaluation with test-time augmentation: several scales and flips of each image, merged."""

import inspect
from typing import Any

from torch import nn

from d2lite.config import CfgNode
from d2lite.data.classes import create_keypoint_hflip_indices
from d2lite.modeling import GeneralizedRCNNWithTTA


def augmented_model(cfg: CfgNode, model: nn.Module) -> GeneralizedRCNNWithTTA:
    """Wrap a model so that it sees every image as TEST.AUG says.

    Args:
        cfg: TEST.AUG, and DATASETS.TEST for the keypoints that a flip exchanges.
        model: an R-CNN, RetinaNet or FCOS.

    Raises:
        ConfigError: for a model that cannot be wrapped.
    """
    flips = None
    if cfg.MODEL.KEYPOINT_ON:
        flips = create_keypoint_hflip_indices(list(cfg.DATASETS.TEST))
    return GeneralizedRCNNWithTTA(cfg, model, keypoint_flip_indices=flips)


def evaluate_augmented(trainer_class: Any, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
    """Evaluate with test-time augmentation.

    Args:
        trainer_class: DefaultTrainer or a subclass, whose `build_evaluator` and `test` are used;
            files go to OUTPUT_DIR/inference_TTA where its `build_evaluator` takes
            `output_folder`.
        cfg: the whole config.
        model: without wrapper.

    Returns:
        What `trainer_class.test` returns, with "_TTA" added to every name.
    """
    options: dict[str, Any] = {}
    if "output_folder" in inspect.signature(trainer_class.build_evaluator).parameters:
        options["output_folder"] = f"{cfg.OUTPUT_DIR}/inference_TTA"
    try:
        evaluators = [
            trainer_class.build_evaluator(cfg, name, **options) for name in cfg.DATASETS.TEST
        ]
    except NotImplementedError:
        # A trainer without evaluators: `test` says which sets it leaves out.
        evaluators = None
    results = trainer_class.test(cfg, augmented_model(cfg, model), evaluators)
    return {f"{name}_TTA": result for name, result in results.items()}
