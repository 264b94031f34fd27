"""WholeImageSteps: augmentations in order, single-image ones and those that mix several."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from d2lite.data import transforms as T
from d2lite.data.samplers.stream import EpochOrder
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from d2lite.utils.keyed_rng import stream_position

from .labelled_image import LabelledImage
from .mixing import PartnerSource, WholeImageAugmentation

# How many images are tried as a partner before the error of the last one is raised.
_PARTNER_TRIES = 8

Read = Callable[[dict[str, Any]], LabelledImage]


class WholeImageSteps:
    """Apply steps to an image; the images mixed in go through the steps before the mixing one.

    Attributes:
        plain: the steps that change one image.
        mixing: the steps that change whole images.
    """

    def __init__(
        self,
        augmentations: Sequence[T.Augmentation | T.Transform | WholeImageAugmentation],
        mixing_ends_at: int | Callable[[float], int] | None = None,
        off_at_end: Sequence[str] = (),
    ) -> None:
        """Store the steps.

        Args:
            augmentations: applied in order.
            mixing_ends_at: as in `DatasetMapper`.
            off_at_end: likewise.
        """
        self._segments = _segments(augmentations)
        self.plain = [
            step for step in augmentations if not isinstance(step, WholeImageAugmentation)
        ]
        self.mixing = [step for step in self._segments if isinstance(step, WholeImageAugmentation)]
        self.mixing_ends_at = mixing_ends_at
        at_end = [step for step in self.plain if step_name(step) not in off_at_end]
        self._last_segments = _segments(at_end) if off_at_end else None
        self._partners: PartnerSource | None = None

    @property
    def needs_partners(self) -> bool:
        """Whether a step asks for other images of the dataset, or the end for their number."""
        return any(step.needs_partners for step in self.mixing) or callable(self.mixing_ends_at)

    @property
    def needs_masks(self) -> bool:
        """Whether a step looks at the masks of objects."""
        return any(step.needs_masks for step in self.mixing)

    def with_partners(self, dataset: Any, order: EpochOrder | None) -> "WholeImageSteps":
        """A copy that draws other images from a dataset; arguments as in `PartnerSource`."""
        made = copy.copy(self)
        made._partners = PartnerSource(dataset, order)
        if callable(self.mixing_ends_at):
            epoch_size = len(dataset) if order is None else order.mean_epoch_size
            made.mixing_ends_at = self.mixing_ends_at(epoch_size)
        return made

    def __call__(self, labelled: LabelledImage, read: Read) -> tuple[LabelledImage, T.Transform]:
        """Do all steps.

        Args:
            labelled: may be changed in place.
            read: dataset dict -> image, for those that are mixed in.

        Returns:
            The image, and what is still to do to its objects: what came after the last step
            that changes whole images.
        """
        return self._run(labelled, read, len(self._segments))

    def _run(
        self, labelled: LabelledImage, read: Read, stop: int
    ) -> tuple[LabelledImage, T.Transform]:
        to_do: T.Transform = T.TransformList([])
        segments = self._segments[:stop]
        if self._last_segments is not None and self._is_mixing_over():
            segments = self._last_segments
        for index, step in enumerate(segments):
            if not isinstance(step, WholeImageAugmentation):
                to_do = labelled.augment(step)
                continue
            labelled.carry_objects(to_do)
            to_do = T.TransformList([])
            if not (step.needs_partners and self._is_mixing_over()):
                labelled = step(labelled, partial(self._draw_partner, read, index))
        return labelled, to_do

    def _is_mixing_over(self) -> bool:
        position, end = stream_position(), self.mixing_ends_at
        # The position is not known outside of a loader.
        return isinstance(end, int) and position is not None and position >= end

    def _draw_partner(self, read: Read, index: int) -> LabelledImage:
        """Another image of the dataset, after the segments before number `index`."""
        if self._partners is None:
            raise ConfigError(
                f"{self._segments[index]!r} mixes images, and this mapper knows no others. Use "
                "build_detection_train_loader with a list or a map-style dataset, or "
                "mapper.with_partners(dataset)."
            )
        tries = 0
        while True:
            record = self._partners.draw()
            tries += 1
            try:
                labelled, to_do = self._run(read(record), read, index)
                labelled.carry_objects(to_do)
                return labelled
            except (DataError, MissingFileError):
                # A bad image is reported when it is read for itself; here it must not blame
                # the one that asked for a partner.
                if tries == _PARTNER_TRIES:
                    raise


def step_name(step: Any) -> str:
    """The name of an augmentation in INPUT.AUGMENTATIONS, without what is put around it."""
    while isinstance(step, T.RandomApply | T.DrawnByBatch):
        step = step.aug
    return type(step).__name__


def _segments(augmentations: Sequence[Any]) -> list[T.AugmentationList | WholeImageAugmentation]:
    """The steps that change whole images, and lists of what is between them."""
    segments: list[T.AugmentationList | WholeImageAugmentation] = []
    plain: list[Any] = []
    for step in augmentations:
        if isinstance(step, WholeImageAugmentation):
            segments += [T.AugmentationList(plain), step] if plain else [step]
            plain = []
        else:
            plain.append(step)
    # Also an empty list, so that an image is checked where there are no augmentations.
    if plain or not segments:
        segments.append(T.AugmentationList(plain))
    return segments
