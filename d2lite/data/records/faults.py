"""Faults of datasets: what kinds there are, what is done about each, and the log that counts them.

Readers and checks write into a `FaultLog`. Who wants to know what a set has (a training that skips
what is bad, `d2lite data check`) opens one with `collecting_faults`; where nobody does, a reader
raises what it cannot read.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from d2lite.utils.errors import DataError

logger = logging.getLogger(__name__)

# Examples that are kept of each kind.
_MAX_EXAMPLES = 3

_REPLACED = "another image takes its place"
_SKIPPED = "skipped"
_LEFT_OUT = "left out"


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        what: in words, for one case.
        in_training: what a training does about it.
        in_copy: what a cleaned copy of the dataset does about it.
        subject: "image", "object" or "set"; a case of the first two takes one of them away.
        is_note: worth knowing, but nothing is wrong with the data.
    """

    what: str
    in_training: str
    in_copy: str
    subject: str = "object"
    is_note: bool = False


FAULTS = {
    "unusable": Fault("cannot be loaded at all", "stops", "none is written", "set"),
    "missing_image": Fault("image file is missing", _REPLACED, _LEFT_OUT, "image"),
    "unreadable_image": Fault(
        "image file cannot be read (broken, cut off)", _REPLACED, _LEFT_OUT, "image"
    ),
    "size_differs": Fault(
        "image has another size than its annotations say", _REPLACED, _LEFT_OUT, "image"
    ),
    "exif_rotation": Fault(
        "EXIF rotation that the annotations do not know", _REPLACED, _LEFT_OUT, "image"
    ),
    "exif_turned": Fault(
        "image is turned by its EXIF tag", "read upright", "kept", "set", is_note=True
    ),
    "few_levels": Fault(
        "image whose grey levels eight bits cannot keep",
        "stops where all are so, unless INPUT.FORMAT has a letter a channel", "kept", "set",
    ),
    "incomplete_image": Fault("image entry without name or size", _LEFT_OUT, _LEFT_OUT, "image"),
    "duplicate_image_id": Fault(
        "image id that two files share", "both left out", "both left out", "image"
    ),
    "repeated_image": Fault("image entry that is listed twice", "used once", "used once", "set"),
    "unreadable_annotations": Fault(
        "annotation file of an image is missing or broken", _LEFT_OUT, _LEFT_OUT, "image"
    ),
    "unknown_image": Fault("annotation of an image that is not listed", _SKIPPED, _LEFT_OUT),
    "unknown_category": Fault("annotation of a category that is not listed", _SKIPPED, _LEFT_OUT),
    "duplicate_annotation_id": Fault(
        "annotation id that occurs more than once", "all are used", "renumbered", "set"
    ),
    "malformed": Fault("annotation that cannot be understood", _SKIPPED, _LEFT_OUT),
    "bad_box": Fault("box of zero, negative or non-finite size", _SKIPPED, _LEFT_OUT),
    "box_outside": Fault("box outside the image", _SKIPPED, _LEFT_OUT),
    "box_beyond": Fault("box reaches beyond the image", "cut to it", "cut to it", "set"),
    "few_points": Fault(
        "polygon of fewer than three points or with odd numbers",
        "skipped, with its object if it has no other",
        "left out, with its object if it has no other",
    ),
    "far_polygon": Fault(
        "polygon far outside its image, not finite or with too long an outline",
        "skipped, with its object if it has no other",
        "left out, with its object if it has no other",
    ),
    "no_area": Fault(
        "shape without an area (point, line)", _SKIPPED, _LEFT_OUT, "set", is_note=True
    ),
    "bad_mask": Fault("mask that does not decode or fit its image", _SKIPPED, _LEFT_OUT),
    "no_mask": Fault(
        "object without a mask", "skipped by a model with masks (MODEL.MASK_ON)", "kept"
    ),
    "partly_masked": Fault(
        "object without a mask where others have one",
        "skipped by a model with masks (MODEL.MASK_ON)", "kept", "set", is_note=True,
    ),
    "keypoints_differ": Fault(
        "object with another number of keypoints than its set names",
        "stops a model with keypoints (MODEL.KEYPOINT_ON)", "kept", "set",
    ),
    "not_polygons": Fault(
        "mask that is not polygons", "stops, unless INPUT.MASK_FORMAT is bitmask", "kept"
    ),
    "crowd_only": Fault(
        "image with crowd regions (iscrowd 1) and no other object", "not trained on", "kept",
        "set", is_note=True,
    ),
    "no_objects": Fault("set without an object to learn from", "stops", "kept", "set"),
    "class_map": Fault("map of classes that cannot be learnt from", "stops", "kept", "set"),
    "no_labels": Fault(
        "set none of whose images has a label file", "no objects to learn from", "kept", "set"
    ),
    "unused_labels": Fault(
        "label file with objects whose image is not there", "not used", "left out", "set"
    ),
    "shared_file": Fault(
        "image file of several entries, each with objects of its own",
        "used once for each entry, with the objects of the others as background", "kept", "set",
    ),
    "empty_class": Fault(
        "class without objects", "nothing is learnt of it", "kept", "set", is_note=True
    ),
    "classes_differ": Fault(
        "class that not all sets have", "not scored; between training sets it stops", "kept", "set"
    ),
    "shared_image": Fault(
        "image that an earlier set has too (by content)", "used; results look too good", "kept",
        "set",
    ),
}  # fmt: skip


@dataclass
class FaultLog:
    """Counts and examples of faults.

    Attributes:
        is_strict: raise what cannot be read in place of writing it down.
        counts: kind -> cases.
        examples: kind -> the first few.
        lost_objects: objects that were skipped.
        lost_images: images that were left out.
    """

    is_strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    lost_objects: int = 0
    lost_images: int = 0

    def add(self, kind: str, example: str, *, is_lost: bool = True) -> None:
        """Write one case down.

        Args:
            kind: a key of `FAULTS`.
            example: where it is.
            is_lost: False if the object stays in spite of it.
        """
        self.counts[kind] += 1
        shown = self.examples.setdefault(kind, [])
        if len(shown) < _MAX_EXAMPLES:
            shown.append(example)
        if is_lost:
            self.lost_objects += FAULTS[kind].subject == "object"
            self.lost_images += FAULTS[kind].subject == "image"

    def refuse(self, kind: str, example: str, error: Exception) -> None:
        """Write down a case that a strict reader raises."""
        if self.is_strict:
            raise error
        self.add(kind, example)

    @property
    def has_faults(self) -> bool:
        """Whether anything is wrong; notes do not count."""
        return any(not FAULTS[kind].is_note for kind in self.counts)

    def log(self, where: str) -> None:
        """One line a kind of fault."""
        for kind in FAULTS:
            if kind in self.counts:
                logger.log(
                    logging.INFO if FAULTS[kind].is_note else logging.WARNING,
                    "%s: %d x %s, for instance %s; %s.",
                    where,
                    self.counts[kind],
                    FAULTS[kind].what,
                    self.examples[kind][0],
                    FAULTS[kind].in_training,
                )

    def check_share(self, num_images: int, num_objects: int, max_share: float) -> None:
        """Stop where too much of a dataset is bad.

        Args:
            num_images: that are left.
            num_objects: that are left.
            max_share: DATALOADER.MAX_BAD_SHARE.

        Raises:
            DataError: naming the faults.
        """
        parts = (
            ("images", self.lost_images, num_images),
            ("objects", self.lost_objects, num_objects),
        )
        for word, lost, left in parts:
            if lost > max_share * (lost + left):
                raise too_much_is_bad(word, lost, lost + left, max_share, self.summary())

    def summary(self) -> str:
        """All faults in one line."""
        return "; ".join(
            f"{count} x {FAULTS[kind].what} ({self.examples[kind][0]})"
            for kind, count in self.counts.most_common()
            if not FAULTS[kind].is_note
        )


def too_much_is_bad(word: str, bad: int, total: int, max_share: float, why: str) -> DataError:
    """The error that ends a training on bad data."""
    return DataError(
        f"{bad} of {total} {word} of the training data cannot be used, and DATALOADER."
        f"MAX_BAD_SHARE allows a share of {max_share:g}: {why.removesuffix('.')}. See all "
        "faults with `d2lite data check DATASET`, write a valid copy with its --fix OUT.json, or "
        "raise the key."
    )


_current: ContextVar[FaultLog | None] = ContextVar("d2lite_fault_log", default=None)


@contextmanager
def collecting_faults(where: str | None = None) -> Iterator[FaultLog]:
    """Inside, readers skip what is bad and write it into one log.

    Args:
        where: the dataset; its faults are logged at the end. None logs nothing.

    Yields:
        The log; that of an outer collection, where there is one.
    """
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    faults = FaultLog()
    token = _current.set(faults)
    try:
        yield faults
    finally:
        _current.reset(token)
    if where is not None:
        faults.log(where)


@contextmanager
def reading_faults(where: str) -> Iterator[FaultLog]:
    """The log for a reader: that of who collects, or a strict one that is logged at the end.

    Args:
        where: the file that is read.
    """
    faults = _current.get()
    if faults is not None:
        yield faults
        return
    faults = FaultLog(is_strict=True)
    yield faults
    faults.log(where)
