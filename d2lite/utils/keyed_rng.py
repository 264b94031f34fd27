"""Random draws that follow from a counter instead of from the state of a process.

A training sample is known by its position in the endless stream of samples. Every draw made for
it (augmentation in the loader, proposal sampling in the model) comes from a generator keyed by
(seed, position), so the draws are the same for any number of workers and processes and after any
stop and resume, and there is no generator state to save.

What surrounds a step, and what reads it:

- `keyed_draws` and `at_position`, around each sample in the loader: augmentations.
- `keyed_images`, around the forward pass of a detector: the sampling of anchors and proposals.
- `EventStorage` (utils.events), around the whole training: whoever logs a number.
- `sharing_means` (utils.process_means), around the forward pass: normalisers of losses.
- torch's own: autocast with mixed precision, `no_sync` of DistributedDataParallel while gradients
  are accumulated.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

__all__ = [
    "DrawPurpose",
    "at_position",
    "draw_key",
    "image_generator",
    "keyed_draws",
    "keyed_images",
    "stream_position",
]


class DrawPurpose(IntEnum):
    """What draws are made for: equal seeds and positions give other numbers for each purpose.

    The values are part of every result, so they never change.
    """

    RPN_SAMPLING = 1  # which anchors of an image train the RPN
    ROI_SAMPLING = 2  # which proposals of an image train the ROI heads
    DENOISING = 3  # the noise of denoising queries of an image
    BATCH_SIZES = 4  # one size for the images of a batch
    STEP = 7  # dropout and other draws of the model in one training step
    SAMPLE_ORDER = 11  # the order of the samples in an epoch
    REPEAT_PHASES = 12  # in which epochs an image repeated 1.3 times comes twice
    VALIDATION_MODEL = 20_000  # draws of the model while validation losses are measured
    VALIDATION_IMAGES = 20_001  # `draw_key` of the images of that measurement


_image_keys: list[Sequence[int | None]] = []
_positions: list[int] = []


def draw_key(seed: int, *counters: int) -> int:
    """Mix a seed and counters into one 63-bit key; unequal inputs give unrelated keys.

    Args:
        seed: the run's seed, >= 0.
        counters: further numbers, each >= 0, such as a position and a `DrawPurpose`.
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

    What changes in the course of a training follows from it and not from a count of calls,
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


def image_generator(
    image: int | None, purpose: int, device: torch.device | str
) -> torch.Generator | None:
    """The generator for one kind of draw about one image of the current batch.

    Args:
        image: index of the image in the batch; None if it is not known. Models that repeat a
            batch, as TridentNet, go on counting: each repetition has draws of its own.
        purpose: a `DrawPurpose`, or a number of your own that none of them has.
        device: of the drawn tensor.

    Returns:
        A freshly seeded generator, or None (torch's global generator) where no key is known,
        as when a model is called by hand.
    """
    keys = _image_keys[-1] if _image_keys else ()
    if image is None or not keys:
        return None
    repetition, place = divmod(image, len(keys))
    key = keys[place]
    if key is None:
        return None
    counters = (purpose, repetition) if repetition else (purpose,)
    return torch.Generator(device).manual_seed(draw_key(key, *counters))
