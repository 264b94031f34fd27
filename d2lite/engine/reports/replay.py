"""Replaying the batch of a step that was not finite, from the report that the run wrote."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.utils.errors import DataError
from d2lite.utils.events import EventStorage
from d2lite.utils.keyed_rng import DrawPurpose, draw_key

from ..stepping import gradient_norm


def load_reported_batch(
    cfg: CfgNode,
    report: Mapping[str, Any],
    build_loader: Callable[[CfgNode], Iterable[Any]],
) -> list[dict[str, Any]]:
    """Load the batch of a step again, with the same augmentation.

    Args:
        cfg: the config of the run; SEED is set to that of the report.
        report: as `read_report` gives it.
        build_loader: makes the training loader, as `build_train_loader` of the run's trainer.

    Returns:
        The samples of the process that wrote the report.

    Raises:
        DataError: if the loader cannot start there, or gives other images.
    """
    cfg.derive("SEED", report["seed"], "the report")
    loader = build_loader(cfg)
    seek = getattr(loader, "seek", None)
    if seek is None:
        raise DataError(
            f"{type(loader).__name__} has no seek(), so its batch {report['iteration']} cannot be "
            "found. The report names the images."
        )
    seek(report["iteration"])
    batch: list[dict[str, Any]] = next(iter(loader))
    share = len(batch) // report["num_processes"]
    batch = batch[report["rank"] * share :][:share]
    names = [str(sample["file_name"]) for sample in batch if "file_name" in sample]
    if names != report["images"]:
        raise DataError(
            f"The batch of iteration {report['iteration']} has other images now.\n"
            f"  in the report: {', '.join(report['images'])}\n  now:           {', '.join(names)}\n"
            "Check whether the data or the config have changed, and give the run's own config.yaml."
        )
    return batch


def measure_batch(
    model: nn.Module, batch: Sequence[dict[str, Any]], report: Mapping[str, Any]
) -> dict[str, float]:
    """Compute the losses of a batch, and the norm of their gradient.

    Args:
        model: with the weights to try; its gradients are replaced.
        batch: samples.
        report: with the seed, the iteration and the process, which key the draws.

    Returns:
        Name -> number; the norm is under "gradient norm".

    Raises:
        FloatingPointError: if the model finds that it has diverged before there are losses.
    """
    model.train()
    model.zero_grad()
    torch.manual_seed(
        draw_key(report["seed"], report["iteration"], report["rank"], DrawPurpose.STEP)
    )
    with EventStorage(report["iteration"]):
        losses = model(list(batch))
    sum(losses.values()).backward()
    numbers = {name: float(loss.detach()) for name, loss in losses.items()}
    return {**numbers, "gradient norm": float(gradient_norm(model.parameters()))}
