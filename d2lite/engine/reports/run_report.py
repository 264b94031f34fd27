"""report_run: report.html of a run that has ended."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2lite.config import CfgNode, LazyConfig, PythonRunConfig, annotated_yaml, get_cfg
from d2lite.data.dataset_dicts import counted_classes
from d2lite.data.rotated_boxes import uses_rotated_boxes
from d2lite.evaluation import flatten_results_dict
from d2lite.projects import add_project_configs
from d2lite.reporting import RunFacts, read_facts, write_run_report
from d2lite.utils.collect_env import collect_env_info
from d2lite.utils.provenance import command_line

logger = logging.getLogger(__name__)


def report_run(
    cfg: CfgNode, results: Mapping[str, Any] | None, *, is_eval: bool = False
) -> Path | None:
    """Write report.html into OUTPUT_DIR; a failure costs a warning, not the run.

    Args:
        cfg: the config of the run; with REPORT.ENABLED false nothing is written.
        results: of the last evaluation.
        is_eval: the run is an evaluation alone: what an earlier training has written about itself
            stays.

    Returns:
        The path of the report; None if there is none.
    """
    if not cfg.REPORT.ENABLED:
        return None
    folder = Path(cfg.OUTPUT_DIR)
    try:
        return write_run_report(folder, _facts(cfg, folder, results, is_eval))
    except Exception as error:
        # Broad on purpose: it reads the images and annotations of any dataset.
        logger.warning(f"No report of the run: {type(error).__name__}: {error}")
        logger.debug("The trace of it", exc_info=True)
        return None


def _facts(
    cfg: CfgNode, folder: Path, results: Mapping[str, Any] | None, is_eval: bool
) -> RunFacts:
    flat = flatten_results_dict(results or {})
    evaluated: dict[str, Any] = {
        "test_sets": list(cfg.DATASETS.TEST),
        "results": {n: float(v) for n, v in flat.items() if isinstance(v, (int, float))},
        "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "kpt_oks_sigmas": list(cfg.TEST.KEYPOINT_OKS_SIGMAS),
        "is_rotated": uses_rotated_boxes(cfg),
    }
    if is_eval and (folder / "metrics.json").is_file():
        return dataclasses.replace(read_facts(folder), **evaluated)
    if isinstance(cfg, PythonRunConfig):
        options, config = LazyConfig.to_py(cfg.parts), ""
    else:
        defaults = get_cfg()
        add_project_configs(defaults)
        options, config = annotated_yaml(cfg, only_diff=True, base=defaults), annotated_yaml(cfg)
    return RunFacts(
        command=command_line(),
        environment=collect_env_info(),
        options=options,
        config=config,
        train_sets=list(cfg.DATASETS.TRAIN),
        train_classes=counted_classes(cfg.DATASETS.TRAIN),
        **evaluated,
    )
