"""make_evaluator: from YAML keys or a Python config."""

import inspect
from typing import Any

from d2lite.config import CfgNode, PythonRunConfig
from d2lite.data.rotated_boxes import uses_rotated_boxes
from d2lite.evaluation import DatasetEvaluator, DatasetEvaluators, build_evaluator

_TEST_NAMES = "dataloader.test.dataset.names"


def make_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """Make the evaluator of one set: that of `dataloader.evaluator`, else by the set's type.

    Args:
        cfg: the config.
        dataset_name: of DATASETS.TEST.
        output_dir: for result files, unless the Python config names another folder.
    """
    place = "dataloader.evaluator"
    if not isinstance(cfg, PythonRunConfig) or not cfg.has(place):
        return build_evaluator(
            dataset_name,
            output_dir=output_dir,
            kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
            rotated=uses_rotated_boxes(cfg),
            detections_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
            also=cfg.TEST.EVALUATORS,
        )
    changes = {_TEST_NAMES: dataset_name}
    part = cfg.part(place)
    is_one = "_target_" in part
    for one in [place] if is_one else [f"{place}[{i}]" for i in range(len(part))]:
        if "output_dir" not in cfg.part(one) and _takes_output_dir(cfg.target(one)):
            changes[f"{one}.output_dir"] = output_dir
    made = cfg.make(place, changes)
    evaluator: DatasetEvaluator = made if is_one else DatasetEvaluators(made)
    return evaluator


def _takes_output_dir(evaluator: Any) -> bool:
    return "output_dir" in inspect.signature(evaluator).parameters
