"""The augmentations that a configuration asks for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from d2lite.config import PythonRunConfig
from d2lite.data import transforms as T
from d2lite.data.samplers.stream import epochs_to_iterations
from d2lite.utils.errors import ConfigError

from .mixing import MixingAugmentation, WholeImageAugmentation
from .parsing import Step, read_augmentation
from .whole_image_steps import step_name

# What leaves the whole image to be seen: boxes around objects stay as tight as they were.
_WHOLE = (
    T.PhotometricDistortion,
    T.RandomBrightness,
    T.RandomContrast,
    T.RandomFlip,
    T.RandomLighting,
    T.RandomResize,
    T.RandomSaturation,
    T.Resize,
    T.ResizeScale,
    T.ResizeShortestEdge,
)
# What a test may do: the predictions are only scaled back to the image's size.
_FOR_TESTS = tuple(kind for kind in _WHOLE if kind is not T.RandomFlip)


def build_augmentation(cfg: Any, is_train: bool) -> list[Any]:
    """The augmentations of cfg.INPUT: INPUT.AUGMENTATIONS, or resize, flip and INPUT.AUG.

    The random crop of INPUT.CROP, which comes before them, is not among them.

    Raises:
        ConfigError: for an unknown flip, or a key or an augmentation that does not fit.
    """
    place = f"dataloader.{'train' if is_train else 'test'}.mapper.augmentations"
    if isinstance(cfg, PythonRunConfig) and cfg.has(place):
        return list(cfg.make(place))
    texts = cfg.INPUT.AUGMENTATIONS if is_train else cfg.INPUT.AUGMENTATIONS_TEST
    usual = _usual_augmentations(cfg) if is_train else [_test_resize(cfg)]
    steps: list[Step] = []
    if not len(texts):
        texts = ["Default"]
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(
                f"INPUT.AUGMENTATIONS holds {text!r}; texts are expected, as in "
                "\"['RandomRotation(angle=(-10, 10))', 'Default']\"."
            )
        is_default = text.strip() in ("Default", "Default()")
        steps += usual if is_default else [read_augmentation(text, _defaults(cfg))]
    if is_train:
        _check_keys(cfg, texts, steps)
        steps = _by_batch(cfg, steps)
    else:
        _check_test(steps)
    return steps


build_transform_gen = build_augmentation
"""Its old name."""


def build_steps(cfg: Any, is_train: bool) -> list[Any]:
    """All augmentations of a configuration, the random crop of INPUT.CROP first."""
    crop = cfg.INPUT.CROP
    first = [T.RandomCrop(crop.TYPE, crop.SIZE)] if is_train and crop.ENABLED else []
    return [*first, *build_augmentation(cfg, is_train)]


def may_cut(steps: Sequence[Any]) -> bool:
    """Whether less of an object may be seen after these steps, so that its box is too large.

    Args:
        steps: augmentations; of an unknown kind it is assumed.
    """
    for step in steps:
        while isinstance(step, T.RandomApply | T.DrawnByBatch):
            step = step.aug
        if isinstance(step, (T.AugmentationList, T.RandomChoice)):
            if may_cut(step.augs):
                return True
        elif not isinstance(step, _WHOLE):
            return True
    return False


def mixing_ends_at(cfg: Any) -> Callable[[float], int] | None:
    """The position in the sample stream from which on no images are mixed.

    Args:
        cfg: INPUT.MIXING_OFF_LAST_ITERS and _EPOCHS, SOLVER.MAX_ITER, SOLVER.MAX_EPOCHS and
            SOLVER.IMS_PER_BATCH are read.

    Returns:
        A function that gives the position when the number of images in an epoch is known, on
        which the length of a run of SOLVER.MAX_EPOCHS depends; None for never.

    Raises:
        ConfigError: for a negative number.
    """
    last, epochs = cfg.INPUT.MIXING_OFF_LAST_ITERS, cfg.INPUT.MIXING_OFF_LAST_EPOCHS
    if last < 0 or epochs < 0:
        raise ConfigError(
            f"INPUT.MIXING_OFF_LAST_ITERS is {last} and MIXING_OFF_LAST_EPOCHS {epochs}; they must "
            "be 0 or more."
        )
    if last == 0 and epochs == 0:
        return None
    solver = cfg.SOLVER
    return partial(
        _end_of_mixing, last, epochs, solver.MAX_ITER, solver.MAX_EPOCHS, solver.IMS_PER_BATCH
    )


def _end_of_mixing(
    last_iters: int,
    last_epochs: float,
    max_iter: int,
    max_epochs: float,
    batch_size: int,
    epoch_size: float,
) -> int:
    if max_epochs > 0:
        max_iter = epochs_to_iterations(max_epochs, epoch_size / batch_size)
    if last_epochs > 0:
        last_iters = epochs_to_iterations(last_epochs, epoch_size / batch_size)
    return max(max_iter - last_iters, 0) * batch_size


def _by_batch(cfg: Any, steps: list[Step]) -> list[Step]:
    """With INPUT.SIZE_BY_BATCH, the resizes draw one size for all images of a batch."""
    if not cfg.INPUT.SIZE_BY_BATCH:
        return steps
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        raise ConfigError(
            "INPUT.SIZE_BY_BATCH draws a size for the images of one batch, which "
            "DATALOADER.ASPECT_RATIO_GROUPING would exchange with other batches; set that False."
        )
    kinds = (T.RandomResize, T.ResizeShortestEdge)
    if not any(isinstance(step, kinds) for step in steps):
        raise ConfigError(
            "INPUT.SIZE_BY_BATCH is True, but INPUT.AUGMENTATIONS has no RandomResize or "
            "ResizeShortestEdge that draws a size."
        )
    images = cfg.SOLVER.IMS_PER_BATCH
    return [T.DrawnByBatch(step, images) if isinstance(step, kinds) else step for step in steps]


def _defaults(cfg: Any) -> dict[str, dict[str, Any]]:
    """Arguments from other keys, for augmentations that are named without any."""
    options = cfg.INPUT
    resize = {
        "short_edge_length": options.MIN_SIZE_TRAIN,
        "max_size": options.MAX_SIZE_TRAIN,
        "sample_style": options.MIN_SIZE_TRAIN_SAMPLING,
    }
    crop = {"crop_type": options.CROP.TYPE, "crop_size": options.CROP.SIZE}
    return {"ResizeShortestEdge": resize, "RandomCrop": crop}


def _test_resize(cfg: Any) -> T.Augmentation:
    return T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")


def _usual_augmentations(cfg: Any) -> list[Step]:
    """What detectron2's keys and INPUT.AUG ask for in training."""
    options = cfg.INPUT
    if options.RANDOM_FLIP not in ("none", "horizontal", "vertical"):
        raise ConfigError(
            f"INPUT.RANDOM_FLIP is {options.RANDOM_FLIP!r}; choose one of horizontal, vertical, "
            "none."
        )
    augmentations: list[Step] = []
    if options.AUG.MIN_IOU_CROP.ENABLED:
        crop = options.AUG.MIN_IOU_CROP
        augmentations.append(T.MinIoURandomCrop(tuple(crop.MIN_IOUS), crop.MIN_SIZE))
    jitter = options.AUG.LARGE_SCALE_JITTER
    if jitter.ENABLED:
        augmentations.append(T.ResizeScale(*jitter.SCALE, *jitter.SIZE))
    else:
        augmentations.append(
            T.ResizeShortestEdge(
                options.MIN_SIZE_TRAIN, options.MAX_SIZE_TRAIN, options.MIN_SIZE_TRAIN_SAMPLING
            )
        )
    if options.AUG.PHOTOMETRIC.ENABLED:
        # After resizing, since it costs by the pixel.
        augmentations.append(_photometric(cfg))
    if jitter.ENABLED:
        # Not padded here: the batch is, and boxes and keypoints that an earlier crop cut off would
        # come to are in the padding.
        augmentations.append(T.FixedSizeCrop(tuple(jitter.SIZE), pad=False))
    if options.RANDOM_FLIP != "none":
        is_horizontal = options.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=is_horizontal, vertical=not is_horizontal))
    return augmentations


def _photometric(cfg: Any) -> T.Augmentation:
    if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
        raise ConfigError(
            f"INPUT.AUG.PHOTOMETRIC needs INPUT.FORMAT RGB or BGR, found {cfg.INPUT.FORMAT!r}."
        )
    options = cfg.INPUT.AUG.PHOTOMETRIC
    try:
        return T.PhotometricDistortion(
            options.BRIGHTNESS, tuple(options.CONTRAST), tuple(options.SATURATION), options.HUE
        )
    except ValueError as err:
        raise ConfigError(f"INPUT.AUG.PHOTOMETRIC: {err}") from err


def _check_keys(cfg: Any, texts: Sequence[str], steps: Sequence[Step]) -> None:
    """Refuse what would be left undone, or cannot be done."""
    if not any(text.strip() in ("Default", "Default()") for text in texts):
        on = [name for name, node in cfg.INPUT.AUG.items() if node.ENABLED]
        if on:
            raise ConfigError(
                f"INPUT.AUG.{on[0]}.ENABLED is True, but INPUT.AUGMENTATIONS lists the "
                "augmentations without 'Default', which stands for INPUT.AUG and the usual resize "
                "and flip. Add 'Default' to the list, or switch the key off."
            )
    whole_image_steps = [step for step in steps if isinstance(step, WholeImageAugmentation)]
    if whole_image_steps and cfg.MODEL.LOAD_PROPOSALS:
        raise ConfigError(
            f"{type(whole_image_steps[0]).__name__} cannot carry stored proposals along: take it "
            "out of INPUT.AUGMENTATIONS, or set MODEL.LOAD_PROPOSALS False."
        )
    painting = [step for step in whole_image_steps if step.makes_bitmaps]
    if painting and cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT != "bitmask":
        raise ConfigError(
            f"{type(painting[0]).__name__} hides parts of objects, which polygons cannot say. Set "
            "INPUT.MASK_FORMAT bitmask."
        )
    off = cfg.INPUT.OFF_WITH_MIXING
    missing = sorted(set(off) - {step_name(step) for step in steps})
    if missing:
        raise ConfigError(
            f"INPUT.OFF_WITH_MIXING names {', '.join(missing)}, which INPUT.AUGMENTATIONS does not "
            f"have; it has {', '.join(dict.fromkeys(map(step_name, steps)))}."
        )
    ends = bool(cfg.INPUT.MIXING_OFF_LAST_ITERS or cfg.INPUT.MIXING_OFF_LAST_EPOCHS)
    if ends and not off and not any(isinstance(step, MixingAugmentation) for step in steps):
        raise ConfigError(
            "INPUT.MIXING_OFF_LAST_ITERS or _EPOCHS is set, but INPUT.AUGMENTATIONS mixes no "
            "images (Mosaic, MixUp, CopyPaste), and INPUT.OFF_WITH_MIXING names no augmentation."
        )
    if off and not ends:
        raise ConfigError(
            "INPUT.OFF_WITH_MIXING is set, but not when: set INPUT.MIXING_OFF_LAST_ITERS or "
            "INPUT.MIXING_OFF_LAST_EPOCHS."
        )


def _check_test(steps: Sequence[Step]) -> None:
    for step in steps:
        if not isinstance(step, _FOR_TESTS):
            raise ConfigError(
                f"INPUT.AUGMENTATIONS_TEST has {type(step).__name__}, whose result cannot be "
                "brought back to the image. Take resizing and colours there, and TEST.AUG for "
                "flips and several sizes."
            )
