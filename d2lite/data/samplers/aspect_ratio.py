"""Put tall images with tall ones and wide with wide, so that batches waste little padding."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset


def shape_group(sample: dict[str, Any]) -> int:
    """0 for a sample whose image is wide (width > height), 1 for the others."""
    return 0 if sample["width"] > sample["height"] else 1


def shape_groups(dataset: Any) -> np.ndarray | None:
    """The shape group of each element, read from the dataset dicts and not from the images.

    Args:
        dataset: list or map-style dataset of dicts with "width" and "height".

    Returns:
        (len(dataset),) int8, or None where the sizes are not known before an image is read.
    """
    # Asking a dataset of unknown type for all its elements could decode every image.
    if not isinstance(dataset, list) and not getattr(dataset, "is_list", False):
        return None
    groups = np.zeros(len(dataset), dtype=np.int8)
    for position, sample in enumerate(dataset):
        try:
            groups[position] = shape_group(sample)
        except (KeyError, TypeError):
            return None
    return groups


class AspectRatioGroupedDataset(IterableDataset[Any]):
    """Batches of samples, each batch from one shape group, in order of completion.

    For sources that are only known by iterating over them; the training loader groups by index
    instead, which can start at any batch.
    """

    def __init__(self, dataset: Iterable[dict[str, Any]], batch_size: int) -> None:
        """Group the samples of an iterable.

        Args:
            dataset: yields dicts with "width" and "height" in pixels.
            batch_size: samples in a batch.
        """
        self.dataset = dataset
        self.batch_size = batch_size
        self._buckets: list[list[Any]] = [[], []]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for sample in self.dataset:
            group = shape_group(sample)
            batch = self._buckets[group]
            batch.append(sample)
            if len(batch) == self.batch_size:
                # Before the yield, after which a loop may be left for good.
                self._buckets[group] = []
                yield batch
