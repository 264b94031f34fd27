"""Random draws that follow from a counter instead of from the state of a process.

A training sample is known by its position in the endless stream of samples. Every draw made for
it (augmentation in the loader, proposal sampling in the model) comes from a generator keyed by
(seed, position), so the draws are the same for any number of workers and processes and after any
stop and resume, and there is no generator state to save.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

__all__ = [
    "at_position",
    "draw_key",
    "image_generator",
    "keyed_draws",
    "keyed_images",
    "stream_position",
]

_image_keys: list[Sequence[int | None]] = []
_positions: list[int] = []


def draw_key(seed: int, *counters: int) -> int:
    """Mix a seed and counters into one 63-bit key; unequal inputs give unrelated keys.

    Args:
        seed: the run's seed, >= 0.
        counters: whatever numbers tell this draw from all others, each >= 0.
    """
    mixed = np.random.SeedSequence(entropy=seed, spawn_key=counters)
    return int(mixed.generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def keyed_draws(key: int) -> Iterator[None]:
    """Inside, the global generators of `random`, numpy and torch (CPU) follow from `key` alone.

    Their states are put back on leaving, also after an exception. It is the global generators
    that are keyed so that augmentations which people wrote with `np.random` are exact too.
    """
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(key)
    np.random.seed([key & 0xFFFFFFFF, key >> 32])
    torch.default_generator.manual_seed(key)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


@contextmanager
def at_position(position: int) -> Iterator[None]:
    """Inside, `stream_position()` is this place of the sample stream.

    Args:
        position: counted from 0 over all samples of the run, in all processes.
    """
    _positions.append(position)
    try:
        yield
    finally:
        _positions.pop()


def stream_position() -> int | None:
    """The place in the stream of the sample that is being made; None outside of a training loader.

    What shall change in the course of a training follows from it and not from a count of calls,
    which would be another one in each worker and after a resume.
    """
    return _positions[-1] if _positions else None


@contextmanager
def keyed_images(keys: Sequence[int | None]) -> Iterator[None]:
    """Inside, `image_generator(i, ...)` draws for image i of the batch from `keys[i]`.

    Args:
        keys: one key an image, None for an image that did not come from the sample stream.
    """
    _image_keys.append(keys)
    try:
        yield
    finally:
        _image_keys.pop()


def image_generator(image: int, purpose: int, device: torch.device | str) -> torch.Generator | None:
    """The generator for one kind of draw about one image of the current batch.

    Args:
        image: index of the image in the batch.
        purpose: a number that tells this kind of draw from the others made for the image.
        device: where the drawn tensor lies.

    Returns:
        A freshly seeded generator, or None (torch's global generator) where no key is known,
        as when a model is called by hand.
    """
    key = _image_keys[-1][image] if _image_keys else None
    if key is None:
        return None
    return torch.Generator(device).manual_seed(draw_key(key, purpose))
