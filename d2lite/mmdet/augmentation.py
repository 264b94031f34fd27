"""MMDetection's steps of images as keys of INPUT."""

from collections.abc import Mapping, Sequence

from .parts import Keys, Part, kind_of

# Steps that a loader does anyway.
_ORDINARY = {
    "LoadImageFromFile", "LoadAnnotations", "PackDetInputs", "Pad", "Normalize", "Collect",
    "DefaultFormatBundle", "FilterAnnotations", "ImageToTensor", "Resize", "RandomFlip",
    "RandomChoiceResize", "RandomResize", "CachedMosaic", "Mosaic", "CachedMixUp", "MixUp",
    "PhotoMetricDistortion", "YOLOXHSVRandomAug", "RandomCrop", "MultiScaleFlipAug", "RandomAffine",
    "MinIoURandomCrop",
}  # fmt: skip


def _sizes(step: Part) -> list[tuple[int, int]]:
    """(short, long) of each scale of a resizing step."""
    found = step.get("scale") or step.get("scales") or step.get("img_scale") or ()
    if found and not isinstance(found[0], list | tuple):
        found = [found]
    return [(min(scale), max(scale)) for scale in found]


def augmentation_keys(steps: Sequence[Part], model: Part, left_out: list[str]) -> Keys:
    """Keys of INPUT for training.

    Args:
        steps: that an image goes through.
        model: its settings, of which those for whole batches count.
        left_out: gets a sentence for steps without a counterpart.
    """
    kinds = [kind_of(step) for step in steps]
    keys: Keys = {}
    for kind, step in zip(kinds, steps, strict=True):
        if kind == "RandomFlip":
            share = step.get("prob", step.get("flip_ratio", 0.5))
            keys["INPUT.RANDOM_FLIP"] = "horizontal" if share else "none"
        is_plain = kind in ("Resize", "RandomChoiceResize", "RandomResize")
        if is_plain and "ratio_range" not in step and (sizes := _sizes(step)):
            is_range = len(sizes) == 2 and step.get("multiscale_mode", "range") == "range"
            keys["INPUT.MIN_SIZE_TRAIN"] = [short for short, _ in sizes]
            keys["INPUT.MAX_SIZE_TRAIN"] = max(long for _, long in sizes)
            keys["INPUT.MIN_SIZE_TRAIN_SAMPLING"] = (
                "range" if is_range and kind != "RandomChoiceResize" else "choice"
            )
    if "Mosaic" in kinds or "CachedMosaic" in kinds:
        keys |= _mosaic(dict(zip(kinds, steps, strict=True)), model)
    elif "MinIoURandomCrop" in kinds or any(_is_stretching(step) for step in steps):
        entries = [_entry(kind, step) for kind, step in zip(kinds, steps, strict=True)]
        keys["INPUT.AUGMENTATIONS"] = [entry for entry in entries if entry]
    unknown = sorted(set(kinds) - _ORDINARY - {""})
    if unknown:
        left_out.append(
            f"Augmentations {', '.join(unknown)}: see INPUT.AUGMENTATIONS (docs/augmentation.md)."
        )
    return keys


def test_size_keys(steps: Sequence[Part]) -> Keys:
    """Keys of INPUT for the size of test images, of the first step that says one."""
    for step in steps:
        if _is_stretching(step):
            return {"INPUT.AUGMENTATIONS_TEST": [_entry("Resize", step)]}
        if sizes := _sizes(step):
            return {"INPUT.MIN_SIZE_TEST": sizes[0][0], "INPUT.MAX_SIZE_TEST": sizes[0][1]}
    return {}


def _mosaic(found: Mapping[str, Part], model: Part) -> Keys:
    """The steps around Mosaic, by their kinds."""
    mosaic = found.get("Mosaic", found.get("CachedMosaic", {}))
    side = int(max(mosaic.get("img_scale", (640, 640))))
    low, high = found.get("RandomAffine", {}).get("scaling_ratio_range", (0.5, 2.0))
    entries = [f"Mosaic(size=({side}, {side}), scale=({float(low)}, {float(high)}))"]
    entries += ["PhotometricDistortion(prob=0.5)"] if "YOLOXHSVRandomAug" in found else []
    entries += ["RandomFlip"]
    mixup = found.get("MixUp", found.get("CachedMixUp"))
    entries += [f"MixUp(prob={float(mixup.get('prob', 1.0))})"] if mixup is not None else []
    sides = _sizes_by_batch(model)
    if sides:
        entries += [f"ResizeShortestEdge({tuple(sides)}, {sides[-1]}, 'choice')"]
    return {"INPUT.AUGMENTATIONS": entries, "INPUT.SIZE_BY_BATCH": bool(sides)}


def _is_stretching(step: Part) -> bool:
    """Whether a step resizes to one size, whatever the shape of an image."""
    return kind_of(step) == "Resize" and step.get("keep_ratio") is False


def _entry(kind: str, step: Part) -> str:
    """A step as an element of INPUT.AUGMENTATIONS; "" where there is no counterpart."""
    sizes = _sizes(step)
    if kind == "Resize" and _is_stretching(step):
        width, height = step.get("scale") or step["img_scale"]
        return f"Resize(({height}, {width}))"
    if kind in ("Resize", "RandomResize", "RandomChoiceResize") and sizes:
        style = "choice" if kind == "RandomChoiceResize" or len(sizes) != 2 else "range"
        shorts = tuple(short for short, _ in sizes)
        return f"ResizeShortestEdge({shorts}, {max(long for _, long in sizes)}, '{style}')"
    if kind == "MinIoURandomCrop":
        least = tuple(step.get("min_ious", (0.1, 0.3, 0.5, 0.7, 0.9)))
        return f"MinIoURandomCrop({least}, {step.get('min_crop_size', 0.3)})"
    return {
        "RandomFlip": "RandomFlip",
        "PhotoMetricDistortion": "PhotometricDistortion(prob=1.0)",
    }.get(kind, "")


def _sizes_by_batch(model: Part) -> list[int]:
    """The sides of which each batch has one, drawn; none where images keep their size."""
    steps = (model.get("data_preprocessor") or {}).get("batch_augments") or ()
    # Version 2 has them among the settings of the model.
    ranges = [step["random_size_range"] for step in steps if "random_size_range" in step]
    ranges += [model["random_size_range"]] if "random_size_range" in model else []
    return [side for low, high in ranges[:1] for side in range(low // 32 * 32, high + 1, 32)]
