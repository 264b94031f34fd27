"""Augmentations of whole images: those that mix several, and the source of the others.

All draws come from numpy's global generator, which the loader keys for each sample: which
images are mixed follows from (seed, position), for any number of workers and after a resume.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lite.data import transforms as T
from d2lite.data.samplers.stream import EpochOrder
from d2lite.utils.keyed_rng import stream_position

from .labelled_image import LabelledImage

DrawPartner = Callable[[], LabelledImage]
"""Draws another image of the dataset, which has been through the steps before this one."""


class WholeImageAugmentation:
    """A step that changes an image together with its objects, where no Transform can say how.

    Attributes:
        needs_partners: whether it asks for other images of the dataset.
        needs_masks: whether it looks at the masks of objects.
        makes_bitmaps: whether it makes masks that polygons cannot hold.
    """

    needs_partners = False
    needs_masks = False
    makes_bitmaps = False

    def __call__(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """Change an image.

        Args:
            labelled: may be changed in place.
            draw_partner: called once for each other image that is wanted, one after the other,
                so that no more of them than needed are in memory.

        Returns:
            The image to go on with.

        Raises:
            NotImplementedError: in this base class.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def __repr__(self) -> str:
        """Class name and arguments, as INPUT.AUGMENTATIONS takes them."""
        parameters = inspect.signature(type(self).__init__).parameters
        names = [name for name in parameters if name != "self" and hasattr(self, name)]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"


class MixingAugmentation(WholeImageAugmentation):
    """A step that mixes other images in, with some probability. A subclass writes `mix`."""

    needs_partners = True

    def __init__(self, prob: float) -> None:
        """Store the probability.

        Args:
            prob: in [0, 1].

        Raises:
            ValueError: if it is not a probability.
        """
        if not 0 <= prob <= 1:
            raise ValueError(f"prob={prob} is not a probability; give a number from 0 to 1.")
        self.prob = prob

    def __call__(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """Mix, or leave the image alone."""
        return self.mix(labelled, draw_partner) if np.random.uniform() < self.prob else labelled

    def mix(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """The mixed image; arguments as in `__call__`."""
        raise NotImplementedError(f"{type(self).__name__} does not define mix.")


class PartnerSource:
    """Draws dataset dicts, each as likely as it comes in an epoch of the training."""

    def __init__(self, dataset: Any, order: EpochOrder | None = None) -> None:
        """Say what to draw from.

        Args:
            dataset: map-style; gives dataset dicts.
            order: of the training's sampler, whose subset and repetitions then count here too;
                None draws from the whole dataset evenly.
        """
        self.dataset, self.order = dataset, order

    def draw(self) -> dict[str, Any]:
        """One dataset dict."""
        if self.order is None:
            return self.dataset[int(np.random.randint(len(self.dataset)))]
        # An epoch in which a rare image comes twice has it twice here. The epoch follows from
        # the position, so nothing is carried from sample to sample.
        indices = self.order.epoch(self.order.epoch_of(stream_position() or 0))
        return self.dataset[int(indices[np.random.randint(len(indices))])]


def fit_into(labelled: LabelledImage, size: tuple[int, int]) -> tuple[LabelledImage, int, int]:
    """Cut what is larger than a window at a random place, and draw where the rest goes.

    Args:
        labelled: any size.
        size: height and width of the window.

    Returns:
        An image that fits, and the x and y of its corner in the window.
    """
    kept = np.minimum(labelled.size, size)
    y0, x0 = (int(np.random.randint(spare + 1)) for spare in np.array(labelled.size) - kept)
    y1, x1 = (int(np.random.randint(spare + 1)) for spare in np.array(size) - kept)
    height, width = kept.tolist()
    if (height, width) == labelled.size:
        return labelled, x1, y1
    (h, w) = labelled.size
    return labelled.transformed(T.CropTransform(x0, y0, width, height, w, h)), x1, y1
