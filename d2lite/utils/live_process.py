"""The process that sends the numbers of a run to Weights & Biases or MLflow.

`python -m d2lite.utils.live_process KIND` reads pickled items from its standard input: first a
`Beginning`, then a `Report` after the other. It is a process of its own so that a client which
hangs, at the end of the program too, can be ended; and it needs no torch.
"""

import os
import pickle
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = "d2lite"
# MLflow's bounds of one request, and of a value.
_METRICS, _PARAMS, _VALUE = 1000, 100, 500


class Beginning(NamedTuple):
    """What is sent first.

    Attributes:
        folder: OUTPUT_DIR; its name is that of the run.
        config: key -> value.
        is_resumed: whether the run of this folder goes on.
    """

    folder: str
    config: dict[str, Any]
    is_resumed: bool


class Report(NamedTuple):
    """What is new.

    Attributes:
        scalars: iteration -> name -> value.
        images: (name, (H, W, C) uint8 array, iteration).
    """

    scalars: dict[int, dict[str, float]]
    images: list[tuple[str, Any, int]]


class _RunId:
    """The name that a service has given to the run of a folder, kept in a file of the folder."""

    def __init__(self, beginning: Beginning, kind: str) -> None:
        self._path = Path(beginning.folder, f"{kind}_run.txt")
        is_known = beginning.is_resumed and self._path.is_file()
        self.known = self._path.read_text().strip() if is_known else None

    def keep(self, run_id: str) -> None:
        self._path.write_text(run_id)


class WandbRun:
    """A run of Weights & Biases; its own variables (WANDB_PROJECT, WANDB_MODE, ...) hold."""

    def __init__(self, beginning: Beginning) -> None:
        import wandb

        self._wandb = wandb
        mode: Any = os.environ.get("WANDB_MODE")
        if mode is None and not wandb.login(prompt=False, verify=False):
            print("No login is known (WANDB_API_KEY): writing offline; send it by `wandb sync`.")
            mode = "offline"
        run_id = _RunId(beginning, "wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=Path(beginning.folder).resolve().name,
            dir=beginning.folder,
            config=beginning.config,
            id=run_id.known,
            resume="allow" if run_id.known else None,
            mode=mode,
            settings=wandb.Settings(console="off"),
        )
        run_id.keep(self._run.id)
        # Evaluations report iterations that the losses have passed; a step may not go back.
        self._run.define_metric("*", step_metric="iteration")

    def log(self, report: Report) -> None:
        """Send scalars and images."""
        for iteration, values in report.scalars.items():
            self._run.log({"iteration": iteration, **values})
        for name, image, iteration in report.images:
            self._run.log({"iteration": iteration, name: self._wandb.Image(image)})

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()


class MlflowRun:
    """A run of MLflow, at MLFLOW_TRACKING_URI, in MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, beginning: Beginning) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client, self._metric = MlflowClient(), Metric
        run_id = _RunId(beginning, "mlflow")
        if run_id.known:
            self._id = run_id.known
            self._client.update_run(self._id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = (
            experiment.experiment_id if experiment else self._client.create_experiment(name)
        )
        run = self._client.create_run(experiment_id, run_name=Path(beginning.folder).resolve().name)
        self._id = run.info.run_id
        run_id.keep(self._id)
        params = [Param(key, str(value)[:_VALUE]) for key, value in beginning.config.items()]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _PARAMS])

    def log(self, report: Report) -> None:
        """Send scalars and images."""
        now = int(time.time() * 1000)
        metrics = [
            self._metric(_allowed(name), value, now, iteration)
            for iteration, values in report.scalars.items()
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + _METRICS])
        for name, image, iteration in report.images:
            self._client.log_image(self._id, image, key=_allowed(name), step=iteration)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._id)


def _allowed(name: str) -> str:
    """A name with the letters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name)


RUNS: dict[str, type[WandbRun] | type[MlflowRun]] = {"wandb": WandbRun, "mlflow": MlflowRun}


def main(kind: str) -> None:
    """Send what comes in until there is no more."""
    items = _items()
    run: WandbRun | MlflowRun = RUNS[kind](next(items))
    for report in items:
        run.log(report)
    run.close()


def _items() -> Iterator[Any]:
    try:
        while True:
            # They come from the run that has started this process.
            yield pickle.load(sys.stdin.buffer)
    except EOFError:
        return


if __name__ == "__main__":
    main(sys.argv[1])
