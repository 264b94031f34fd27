"""From dataset names to one list of dataset dicts: load, join by class name, filter, count."""

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Dataset

from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.garbage_collection import paused_garbage_collection

from .catalog import DatasetCatalog, MetadataCatalog
from .classes import ClassCounts, count_classes, join_by_class_name
from .records.faults import collecting_faults
from .records.object_checks import drop_invalid
from .records.plain_records import plain_records
from .records.proposals import load_proposals_into_dataset
from .records.set_checks import check_keypoints, keep_maskable

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]


def filter_images_with_only_crowd_annotations(dataset_dicts: Records) -> Records:
    """The images that have an object which is not a crowd region."""
    kept = [record for record in dataset_dicts if not _is_crowd_only(record)]
    _log_left_out(dataset_dicts, kept, "no object, or crowd regions only")
    return kept


def _is_crowd_only(record: dict[str, Any]) -> bool:
    return all(obj.get("iscrowd", 0) for obj in record["annotations"])


def filter_images_with_few_keypoints(
    dataset_dicts: Records, min_keypoints_per_image: int
) -> Records:
    """The images with at least so many labelled keypoints over all their objects."""

    def labelled(record: dict[str, Any]) -> int:
        points = (obj.get("keypoints", ())[2::3] for obj in record["annotations"])
        return sum(int(np.count_nonzero(np.asarray(visible) > 0)) for visible in points)

    kept = [record for record in dataset_dicts if labelled(record) >= min_keypoints_per_image]
    _log_left_out(dataset_dicts, kept, f"fewer than {min_keypoints_per_image} keypoints")
    return kept


def _log_left_out(before: Records, after: Records, why: str) -> None:
    logger.info(
        "Left out %d of %d images (%s); %d stay.",
        len(before) - len(after),
        len(before),
        why,
        len(after),
    )


@paused_garbage_collection()
def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
    *,
    max_bad_share: float | None = None,
    repeats: Sequence[float] = (),
    mask_format: str | None = None,
) -> Any:
    """Load one or several datasets as one list.

    Several sets are joined by class name: all must have the same classes, and where a set counts
    them in another order its category ids are translated to the order of the first.

    Args:
        names: registered names.
        filter_empty: leave out images without objects.
        min_keypoints: leave out images with fewer labelled keypoints; 0 keeps all.
        proposal_files: one file of precomputed proposals for each set.
        check_consistency: join by class name and print how often each class occurs.
        max_bad_share: also leave out objects that cannot be used (see `data.checking`), and stop
            if they, or images that could not be loaded, are more than this share; None does not.
        repeats: for each set, how many times an epoch shows its images; noted in each dict as
            "repeat_factor". Empty notes nothing.
        mask_format: INPUT.MASK_FORMAT of a model with masks: objects without one are counted and
            left out. None for a model without masks.

    Returns:
        Dataset dicts. Sets that are registered as torch datasets come as they are, several as
        one `ConcatDataset`, and the other arguments have no effect.

    Raises:
        ConfigError: if no name is given, or not as many proposal files or repeats as sets.
        DataError: if a set is empty, the classes differ, no object has a mask where they are
            needed, or nothing is left.
        UnknownNameError: if a name is not registered.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ConfigError(
            "No dataset is named. Set DATASETS.TRAIN (and DATASETS.TEST), for instance "
            "DATASETS.TRAIN \"('shapes_train',)\"."
        )
    with collecting_faults(", ".join(names)) as faults:
        loaded: list[Any] = [DatasetCatalog.get(name) for name in names]
        if any(isinstance(dataset, Dataset) for dataset in loaded):
            return loaded[0] if len(loaded) == 1 else ConcatDataset(loaded)
        datasets = [plain_records(*pair) for pair in zip(names, loaded, strict=True)]
        if max_bad_share is not None:
            datasets = [drop_invalid(records, faults) for records in datasets]
    if max_bad_share is not None:
        num_objects = sum(len(r.get("annotations", ())) for r in itertools.chain(*datasets))
        faults.check_share(sum(map(len, datasets)), num_objects, max_bad_share)
    if mask_format is not None:
        datasets = keep_maskable(datasets, names, mask_format)
    if proposal_files is not None:
        if len(proposal_files) != len(names):
            raise ConfigError(
                f"{len(names)} datasets but {len(proposal_files)} proposal files "
                "(DATASETS.PROPOSAL_FILES_*); give one file for each dataset, in the same order."
            )
        datasets = [
            load_proposals_into_dataset(records, file)
            for records, file in zip(datasets, proposal_files, strict=True)
        ]
    if repeats:
        datasets = _with_repeats(datasets, names, repeats)
    has_objects = any("annotations" in record for record in itertools.chain(*datasets))
    if check_consistency and has_objects:
        datasets = join_by_class_name(names, datasets)
    records = list(itertools.chain(*datasets))
    if has_objects:
        num_loaded = len(records)
        records = _filtered(records, names, filter_empty, min_keypoints)
        _left_out[tuple(names)] = num_loaded - len(records)
    classes = MetadataCatalog.get(names[0]).get("thing_classes")
    if check_consistency and has_objects and classes is not None:
        _show_classes(names, records, classes)
    return records


# Names of sets -> their classes as last counted. Evaluation loads its sets again and again, and
# logs them once.
_counted: dict[tuple[str, ...], ClassCounts] = {}
# Names of sets -> images that have nothing to learn from, as last loaded.
_left_out: dict[tuple[str, ...], int] = {}


def _show_classes(names: Sequence[str], records: Records, classes: Sequence[str]) -> None:
    """Log the table of classes, with the files' own ids, unless it was shown already."""
    mapping = MetadataCatalog.get(names[0]).get("thing_dataset_id_to_contiguous_id") or {}
    id_of = {index: number for number, index in mapping.items()}
    counts = count_classes(records, classes, [id_of.get(i) for i in range(len(classes))])
    if _counted.get(tuple(names)) != counts:
        _counted[tuple(names)] = counts
        logger.info("Dataset %s. %s", ", ".join(names), counts.table())


def counted_classes(names: Sequence[str]) -> list[dict[str, Any]] | None:
    """The classes of sets that were loaded together, as plain values to keep with a checkpoint.

    Args:
        names: as given to `get_detection_dataset_dicts`.

    Returns:
        For each class its "index", "name", "id" in the file (None where that is the index, or is
        not known), and the number of "objects" and "images"; None if they were not loaded.
    """
    counts = _counted.get(tuple(names))
    return None if counts is None else counts.rows()


def describe_sets(names: Sequence[str]) -> str:
    """How much there is of sets that were loaded together, in one line.

    Args:
        names: as given to `get_detection_dataset_dicts`.

    Returns:
        The numbers of images, objects and classes, and of images that were left out; empty if the
        sets were not loaded, or have no objects.
    """
    counts = _counted.get(tuple(names))
    if counts is None:
        return ""
    text = (
        f"{', '.join(names)}: {counts.num_images} images, {sum(counts.objects)} objects of "
        f"{len(counts.names)} classes"
    )
    left_out = _left_out.get(tuple(names), 0)
    return f"{text}; {left_out} images left out" if left_out else text


def check_is_annotated(records: Records, names: Sequence[str]) -> None:
    """Check that there is something to learn from.

    Raises:
        DataError: if no record has objects, segments or a map of classes, or one lacks its image.
    """
    if not any(_LABELS & record.keys() for record in records):
        raise DataError(
            f"{', '.join(names)} has images without annotations, so there is nothing to learn "
            "from (images:DIR is for prediction). Name a dataset with annotations in "
            "DATASETS.TRAIN, for instance coco:FILE.json@IMAGES_DIR."
        )
    nameless = sum("file_name" not in record for record in records)
    if nameless:
        raise DataError(
            f"{nameless} of {len(records)} images of {', '.join(names)} have no 'file_name'. Add "
            "it, or give build_detection_train_loader a mapper that finds images by other means."
        )


# What a dataset dict has to learn from.
_LABELS = {"annotations", "sem_seg_file_name", "pan_seg_file_name"}


def _with_repeats(
    datasets: list[Records], names: Sequence[str], repeats: Sequence[float]
) -> list[Records]:
    if len(repeats) != len(names) or min(repeats) < 0 or not sum(repeats) > 0:
        raise ConfigError(
            f"DATASETS.TRAIN_REPEATS is {tuple(repeats)} for the {len(names)} sets of "
            "DATASETS.TRAIN; give one number for each, 0 or more, as in (1.0, 2.5)."
        )
    for name, records, times in zip(names, datasets, repeats, strict=True):
        logger.info("Dataset %s: %d images, each %g times an epoch", name, len(records), times)
    return [
        [{**record, "repeat_factor": float(times)} for record in records]
        for records, times in zip(datasets, repeats, strict=True)
    ]


def _filtered(
    records: Records, names: Sequence[str], filter_empty: bool, min_keypoints: int
) -> Records:
    records = [r if "annotations" in r else {**r, "annotations": []} for r in records]
    kept = filter_images_with_only_crowd_annotations(records) if filter_empty else records
    if min_keypoints > 0:
        check_keypoints(records, names)
        kept = filter_images_with_few_keypoints(kept, min_keypoints)
    if not kept:
        crowds = sum(1 for record in records if record["annotations"] and _is_crowd_only(record))
        raise DataError(
            f"None of the {len(records)} images of {', '.join(names)} is left after filtering: "
            f"{crowds} have crowd regions (iscrowd 1) only, the others lack objects (or "
            "keypoints). Check the annotations, or keep such images with "
            "DATALOADER.FILTER_EMPTY_ANNOTATIONS False"
            + (" and MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE 0." if min_keypoints else ".")
        )
    return kept


def print_instances_class_histogram(dataset_dicts: Records, class_names: Sequence[str]) -> None:
    """Log how many objects and images each class has; crowd regions do not count.

    Args:
        dataset_dicts: with "annotations".
        class_names: name of each category id.

    Raises:
        DataError: if an annotation's category id is not a number of a class.
    """
    logger.info(count_classes(dataset_dicts, class_names).table())
