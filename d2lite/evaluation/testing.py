"""Results as text that is easy to copy, and the check of results against expected ones."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2lite.utils.errors import ConfigError, InputTypeError, UserError
from d2lite.utils.nested import flat_items

__all__ = ["flatten_results_dict", "print_csv_format", "verify_results"]

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log each task's main metrics as two lines of comma-separated values, to be copied.

    Args:
        results: {task: {metric: value}}; metrics of single classes ("AP-person") are left out.

    Raises:
        TypeError: if results are not a mapping.
    """
    if not isinstance(results, Mapping):
        raise InputTypeError(f"results are a dict of tasks, not {type(results).__name__}.")
    for task, metrics in results.items():
        lines = [f"{task}={metrics}"]
        if isinstance(metrics, Mapping):
            main = {name: value for name, value in metrics.items() if "-" not in name}
            numbers = [f"{value:.4f}" for value in main.values()]
            lines = [f"Task: {task}", ",".join(main), ",".join(numbers)]
        for line in lines:
            logger.info("copypaste: %s", line)


def verify_results(cfg: Any, results: Mapping[str, Any]) -> bool:
    """Compare results with TEST.EXPECTED_RESULTS.

    Args:
        cfg: its TEST.EXPECTED_RESULTS has entries [task, metric, value, tolerance].
        results: {task: {metric: value}}.

    Returns:
        True.

    Raises:
        UserError: if an expected value was not met.
        ConfigError: if an entry has another form.
    """
    misses = []
    for entry in cfg.TEST.EXPECTED_RESULTS:
        if len(entry) != 4:
            raise ConfigError(
                f"TEST.EXPECTED_RESULTS has the entry {entry}; expected [task, metric, value, "
                "tolerance], for instance ['bbox', 'AP', 38.5, 0.2]."
            )
        task, metric, expected, tolerance = entry
        found = (results.get(task) or {}).get(metric)
        # "not <=" catches a NaN, which fulfils no comparison.
        if found is None or not abs(found - expected) <= tolerance:
            misses.append(f"{task}/{metric}: {found}, expected {expected} +- {tolerance}")
    if misses:
        raise UserError(
            "The results are not those of TEST.EXPECTED_RESULTS:\n  " + "\n  ".join(misses) + "\n"
            "Find out what changed, or write the new values there."
        )
    if cfg.TEST.EXPECTED_RESULTS:
        logger.info("All of TEST.EXPECTED_RESULTS were met.")
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Turn nested results into one level.

    Args:
        results: {task: {metric: value}}, nested to any depth.

    Returns:
        {"task/metric": value}.
    """
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in flat_items(results, "/")
    }
