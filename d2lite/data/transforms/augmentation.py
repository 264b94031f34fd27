"""Augmentation: it looks at an input, draws at random, and returns the Transform that was done.

All draws come from numpy's global generator, which the data loader keys for each sample.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

from d2lite.utils.errors import DataError, InputTypeError

from .labels import transform_labels

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "StandardAugInput",
    "TransformGen",
    "apply_augmentations",
    "apply_transform_gens",
]


class Augmentation:
    """A policy that makes one Transform for one input.

    A subclass writes `get_transform`, whose argument names say which attributes of the input it
    needs (`image`, `boxes`, `sem_seg`, or whatever a user's own input carries). Calling
    the augmentation makes the transform, applies it to the input in place and returns it, so
    that it can be applied to everything else that belongs to the image.

    `input_args` may list those attributes instead; None means to read the signature.
    """

    input_args: tuple[str, ...] | None = None

    def _init(self, params: Mapping[str, Any] | None = None) -> None:
        """Keep constructor arguments, usually `locals()`, as attributes of the same names."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args: Any) -> Transform:
        """Draw a transform for the wanted attributes of an input.

        Raises:
            NotImplementedError: in this base class.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define get_transform.")

    def __call__(self, aug_input: Any) -> Transform:
        """Draw a transform, apply it to `aug_input` in place and return it.

        Args:
            aug_input: has the wanted attributes and a method `transform(tfm)`, as `AugInput`.
        """
        transform = self.get_transform(*_get_aug_input_args(self, aug_input))
        if not isinstance(transform, Transform):
            raise InputTypeError(
                f"{type(self).__name__}.get_transform returned {type(transform).__name__}, "
                "a Transform was expected; return NoOpTransform() to leave the input alone."
            )
        aug_input.transform(transform)
        return transform

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: int | None = None
    ) -> float | np.ndarray:
        """Uniform draw from [low, high), or from [0, low) if there is no `high`."""
        if high is None:
            low, high = 0, low
        return np.random.uniform(low, high, () if size is None else size)

    def __repr__(self) -> str:
        """Class name and the arguments that differ from their defaults."""
        _, *parameters = inspect.signature(type(self).__init__).parameters.values()
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            return super().__repr__()
        if not all(hasattr(self, p.name) for p in parameters):
            return super().__repr__()
        given = {p.name: getattr(self, p.name) for p in parameters}
        texts = {p.name: repr(given[p.name]) for p in parameters if given[p.name] is not p.default}
        shown = [f"{name}={text if len(text) <= 80 else '...'}" for name, text in texts.items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__


def _get_aug_input_args(aug: Augmentation, aug_input: Any) -> list[Any]:
    """The values of the attributes of an input that `get_transform` of `aug` asks for."""
    names = aug.input_args
    if names is None:
        parameters = inspect.signature(aug.get_transform).parameters.values()
        if any(p.kind is p.VAR_POSITIONAL or p.kind is p.VAR_KEYWORD for p in parameters):
            raise InputTypeError(
                f"{type(aug).__name__}.get_transform takes *args or **kwargs, so its inputs "
                "have no names. Name its arguments or set `input_args`."
            )
        names = tuple(p.name for p in parameters if p.default is p.empty)
        if len(names) == 1 and not hasattr(aug_input, names[0]):
            # A single argument is the image under any name, as in `get_transform(self, img)`.
            names = ("image",)
    missing = [name for name in names if not hasattr(aug_input, name)]
    if missing:
        raise AttributeError(
            f"{type(aug).__name__} needs {', '.join(missing)}, which "
            f"{type(aug_input).__name__} does not have."
        )
    return [getattr(aug_input, name) for name in names]


class _TransformToAug(Augmentation):
    """An augmentation that does not draw: always the same transform."""

    input_args = ()

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def get_transform(self, *args: Any) -> Transform:
        return self.transform

    def __repr__(self) -> str:
        return repr(self.transform)


def _transform_to_aug(augmentation_or_transform: Augmentation | Transform) -> Augmentation:
    """An augmentation as it is; a transform as an augmentation that always does it."""
    if isinstance(augmentation_or_transform, Augmentation):
        return augmentation_or_transform
    if isinstance(augmentation_or_transform, Transform):
        return _TransformToAug(augmentation_or_transform)
    raise InputTypeError(
        "An Augmentation or a Transform was expected, found "
        f"{type(augmentation_or_transform).__name__}."
    )


class AugmentationList(Augmentation):
    """Apply augmentations one after the other; each sees what those before it made."""

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        """Store the augmentations.

        Args:
            augs: augmentations, or transforms that are always done.
        """
        self.augs = [_transform_to_aug(aug) for aug in augs]

    def __call__(self, aug_input: Any) -> TransformList:
        """Apply all to `aug_input` in place; returns the transforms that were done, in order."""
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        """The augmentations in order."""
        return f"AugmentationList[{', '.join(map(repr, self.augs))}]"

    __str__ = __repr__


class AugInput:
    """What augmentations may look at and what they change: an image and what is on it."""

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
        ignore_value: int = 255,
    ) -> None:
        """Check and store the parts.

        Args:
            image: (H, W) or (H, W, C), uint8 in [0, 255] or float; the channel order is the
                caller's.
            boxes: (N, 4) float, xyxy in pixels.
            sem_seg: (H, W) class of each pixel, uint8 or another integer.
            ignore_value: the class that pixels get which come in from outside the image.

        Raises:
            InputTypeError: if the image is not an array of such a dtype.
            DataError: if the image has another number of axes.
        """
        if not isinstance(image, np.ndarray):
            raise InputTypeError(f"The image must be a numpy array, found {type(image).__name__}.")
        if not (np.issubdtype(image.dtype, np.floating) or image.dtype in (np.uint8, np.uint16)):
            raise InputTypeError(
                f"The image has dtype {image.dtype}; uint8, uint16 or float is expected."
            )
        if image.ndim not in (2, 3):
            raise DataError(f"The image has shape {image.shape}; (H, W) or (H, W, C) is expected.")
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg
        self.ignore_value = ignore_value

    def transform(self, tfm: Transform) -> None:
        """Apply a transform to every part, in place."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = transform_labels(tfm, self.sem_seg, self.ignore_value)

    def apply_augmentations(
        self, augmentations: Sequence[Augmentation | Transform]
    ) -> TransformList:
        """Apply augmentations in order, in place; returns the transforms that were done."""
        return AugmentationList(augmentations)(self)


def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: np.ndarray | AugInput
) -> tuple[np.ndarray | AugInput, TransformList]:
    """Apply augmentations to an image or to an `AugInput`.

    Args:
        augmentations: applied in order.
        inputs: (H, W) or (H, W, C) image, or an `AugInput`, which is changed in place.

    Returns:
        The augmented image or input, and the transforms that were done.
    """
    if isinstance(inputs, np.ndarray):
        holder = AugInput(inputs)
        transforms = holder.apply_augmentations(augmentations)
        return holder.image, transforms
    return inputs, inputs.apply_augmentations(augmentations)


# Names of before the rewrite that users' code still has.
TransformGen = Augmentation
StandardAugInput = AugInput
apply_transform_gens = apply_augmentations
