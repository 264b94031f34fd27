"""build_batch_data_loader: lay the sample stream's batches over a dataset."""

import logging
import math
from typing import Any

from torch.utils.data import Dataset, IterableDataset, Sampler

from d2lite.data.common import MapDataset
from d2lite.data.samplers.aspect_ratio import shape_groups
from d2lite.data.samplers.distributed_sampler import stream_order
from d2lite.data.samplers.stream import BatchStream, CountedBatches
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

from .loader import Collate, IterableStream, StreamDataset, StreamLoader

logger = logging.getLogger(__name__)


def build_batch_data_loader(
    dataset: Dataset[Any],
    sampler: Sampler[Any] | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    prefetch_factor: int | None = 2,
    persistent_workers: bool = False,
    pin_memory: bool = False,
    seed: int | None = None,
    max_bad_share: float | None = None,
    **kwargs: Any,
) -> StreamLoader:
    """Batch a dataset for training.

    With a sampler of d2lite the loader is exact: which images make up global batch t, and all
    draws made for them, depend on the seed and t alone, for any number of workers and processes.

    Args:
        dataset: map-style, or iterable (then without a sampler).
        sampler: yields the indices of this process.
        total_batch_size: images of a batch over all processes, a multiple of their number.
        aspect_ratio_grouping: batch wide images with wide ones; needs a list of dicts below.
        num_workers: loader processes; 0 loads in this one.
        collate_fn: list of samples -> batch; None leaves the list.
        drop_last: leave out what does not fill a batch when a sampler ends.
        single_gpu_batch_size: images of this process's batch, instead of `total_batch_size`.
        prefetch_factor: batches that each worker keeps ready.
        persistent_workers: keep the workers when a loop over the loader is left.
        pin_memory: as in torch's DataLoader.
        seed: keys the draws; the sampler's own seed if None.
        max_bad_share: the share of images that may be unreadable and are replaced by others; None
            raises at the first one.
        kwargs: further arguments of torch's DataLoader.

    Returns:
        A loader that also has `seek(batch)` and `batches_per_epoch`.

    Raises:
        ConfigError: if the batch does not divide over the processes.
    """
    rank, world_size = comm.get_rank(), comm.get_world_size()
    total = _total_batch_size(total_batch_size, single_gpu_batch_size, world_size)
    seed = getattr(sampler, "seed", None) if seed is None else seed
    seed = comm.shared_random_seed() if seed is None else int(seed)
    options = {
        "num_workers": num_workers,
        "collate_fn": collate_fn,
        "prefetch_factor": prefetch_factor,
        "persistent_workers": persistent_workers,
        "pin_memory": pin_memory,
        **kwargs,
    }
    place: dict[str, Any] = {"rank": rank, "world_size": world_size}
    local = total // world_size
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise ConfigError("An iterable dataset takes no sampler: it has an order of its own.")
        grouping = {"aspect_ratio_grouping": aspect_ratio_grouping, "drop_last": drop_last}
        source = IterableStream(dataset, seed, local, **grouping, **place)
        return StreamLoader(source, None, batches_per_epoch=math.inf, **options)
    if sampler is None:
        raise ConfigError("A map-style dataset needs a sampler, for instance TrainingSampler.")
    groups = _groups_of(dataset) if aspect_ratio_grouping else None
    per_epoch = len(dataset) / total  # type: ignore[arg-type]
    batches: BatchStream | CountedBatches
    if (order := stream_order(sampler)) is not None:
        batches = BatchStream(order, total, groups=groups, **place)
        per_epoch = order.mean_epoch_size / total
    else:
        batches = CountedBatches(sampler, local, groups=groups, drop_last=drop_last, **place)
    samples = StreamDataset(dataset, seed, max_bad_share=max_bad_share)
    return StreamLoader(samples, batches, batches_per_epoch=per_epoch, **options)


def _total_batch_size(total: int | None, single: int | None, world_size: int) -> int:
    """The global batch size from whichever of the two numbers was given."""
    if single:
        if total:
            raise ConfigError(
                f"Give total_batch_size ({total}) or single_gpu_batch_size ({single}), not both."
            )
        total = single * world_size
    if not total or total < 0 or total % world_size:
        nearest = max(round((total or 0) / world_size), 1) * world_size
        raise ConfigError(
            f"A batch of {total} images (SOLVER.IMS_PER_BATCH) does not divide over {world_size} "
            f"processes. Use a multiple of {world_size}, for instance {nearest}."
        )
    return total


def _groups_of(dataset: Dataset[Any]) -> Any:
    """Shape groups of the dataset's images, or None where only decoding would show them."""
    while isinstance(dataset, MapDataset):
        dataset = dataset.dataset
    groups = shape_groups(dataset)
    if groups is None:
        logger.info(
            "Batches are not grouped by image shape: %s does not tell 'width' and 'height' before "
            "an image is read. Use a list of dicts that have them.",
            type(dataset).__name__,
        )
    return groups
