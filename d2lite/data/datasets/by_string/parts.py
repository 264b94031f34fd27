"""Objects that a tool keeps as several shapes of one group."""

from collections.abc import Iterable

from .entries import Shape


def join_parts(shapes: Iterable[Shape]) -> list[Shape]:
    """The objects of an image: a box, polygons and points of one group and label are one.

    Two boxes, or two masks, of one group are two objects.
    """
    objects: list[Shape] = []
    newest: dict[tuple[int, str], Shape] = {}
    for shape in shapes:
        key = (shape.group, shape.label)
        if not shape.group or key not in newest or not _takes(newest[key], shape):
            objects.append(shape)
            newest[key] = shape
    return objects


def _takes(first: Shape, part: Shape) -> bool:
    """Add a part to the object that it belongs to; False where both have the same part."""
    has_both = any(
        getattr(first, name) and getattr(part, name) for name in ("box", "mask", "keypoints")
    )
    if has_both or first.fault or part.fault or (first.mask and part.polygons):
        return False
    first.box = first.box or part.box
    first.mask = first.mask or part.mask
    first.polygons += part.polygons
    first.keypoints |= part.keypoints
    return True
