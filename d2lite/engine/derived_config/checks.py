"""Checks of a config before a run: what would fail late or train wrong in silence."""

import logging
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from d2lite.config import CfgNode
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import follow_class_order
from d2lite.data.datasets.image_finder import missing_images
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.plain_records import plain_records
from d2lite.evaluation.coco_scoring import check_sigmas
from d2lite.utils.errors import ConfigError, DataError

from .classes import ClassKey, get_class_names

logger = logging.getLogger(__name__)


def check_solver(solver: CfgNode, world_size: int) -> None:
    """Check that batches can be split as asked.

    Args:
        solver: the section SOLVER.
        world_size: number of processes.

    Raises:
        ConfigError: naming the key.
    """
    total = solver.IMS_PER_BATCH
    if total % world_size != 0:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH={total} does not divide over {world_size} processes. Use a "
            f"multiple of {world_size}, for instance {max(total // world_size, 1) * world_size}."
        )
    if not 1 <= solver.ACCUMULATE_STEPS <= total // world_size:
        raise ConfigError(
            f"SOLVER.ACCUMULATE_STEPS={solver.ACCUMULATE_STEPS} cannot split the "
            f"{total // world_size} images that each process has of a batch. Use 1 to "
            f"{total // world_size}, or raise SOLVER.IMS_PER_BATCH."
        )
    if solver.AMP.ENABLED and solver.AMP.PRECISION not in ("float16", "bfloat16"):
        raise ConfigError(
            f"SOLVER.AMP.PRECISION={solver.AMP.PRECISION!r} is not known; use 'float16' or "
            "'bfloat16'."
        )


def load_test_classes(
    dataset_names: Iterable[str], train_classes: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Load each evaluation set once, so that missing files are reported now and not hours later.

    A set of the same classes in another order takes over that of the training.

    Args:
        dataset_names: registered names.
        train_classes: class names of the training data; None if they are not known.

    Returns:
        Set's name -> class names, for the sets that have classes.
    """
    found = {}
    for name in dataset_names:
        if train_classes is not None:
            follow_class_order(name, train_classes)
        _check_truth(name, DatasetCatalog.get(name))
        class_names = get_class_names(name)
        if class_names is not None:
            found[name] = class_names
    return found


def _check_truth(name: str, records: Any) -> None:
    """Check that an evaluation can use dataset dicts, which it would do after the training."""
    if not isinstance(records, list):
        return
    with collecting_faults():
        plain = plain_records(name, records)
    if any("annotations" in r and (not r.get("height") or not r.get("width")) for r in plain):
        raise DataError(
            f"Images of the evaluation set {name!r} have no 'height' and 'width', and their files "
            "cannot be read to find them. Add the sizes to its dataset dicts."
        )
    for record in plain:
        if any(obj.get("bbox") is None for obj in record.get("annotations", ())):
            raise DataError(
                f"{record.get('file_name')} of the evaluation set {name!r} has an object without "
                "a box and a mask."
            )


# What the evaluators of the built-in types compare.
_COMPARED = {
    "coco": "instances",
    "lvis": "instances",
    "pascal_voc": "instances",
    "cityscapes_instance": "instances",
    "sem_seg": "sem_seg",
    "cityscapes_sem_seg": "sem_seg",
    "coco_panoptic_seg": "panoptic_seg",
    "cityscapes_panoptic_seg": "panoptic_seg",
}


def check_predictions(model: Any, dataset_names: Sequence[str]) -> None:
    """Check that a model gives what its evaluation sets are compared by.

    Args:
        model: only the built-in classes state what they give (`predicts`), not their subclasses.
        dataset_names: registered evaluation sets.

    Raises:
        ConfigError: if it gives something else.
    """
    given = vars(type(model)).get("predicts")
    for name in dataset_names if given else ():
        kind = MetadataCatalog.get(name).get("evaluator_type")
        wanted = _COMPARED.get(kind)
        if wanted is not None and wanted not in given:
            raise ConfigError(
                f"{type(model).__name__} gives {', '.join(sorted(given))}, and {name!r} of "
                f"DATASETS.TEST is evaluated by {wanted} (its evaluator_type is {kind!r}). Choose "
                f"a set of evaluator_type {_types_for(given)}, or DATASETS.TEST () for no "
                "evaluation."
            )


def _types_for(given: frozenset[str]) -> str:
    return " or ".join(repr(kind) for kind, key in _COMPARED.items() if key in given)


def check_test_keypoints(
    test_sets: Iterable[str], num_keypoints: int, sigmas: Sequence[float]
) -> None:
    """Check that the keypoints of a model can be scored, which happens after the training.

    Args:
        test_sets: names, as in DATASETS.TEST.
        num_keypoints: of the model; 0 if it has none.
        sigmas: TEST.KEYPOINT_OKS_SIGMAS.

    Raises:
        ConfigError: if there is not a sigma for each keypoint.
    """
    kinds = [MetadataCatalog.get(name).get("evaluator_type") for name in test_sets]
    if num_keypoints and "coco" in kinds:
        check_sigmas(num_keypoints, sigmas)


def check_test_images(dataset_names: Iterable[str]) -> None:
    """Check that the images of evaluation sets are there, before a training that ends with them.

    Args:
        dataset_names: as in DATASETS.TEST.

    Raises:
        DataError: if one is missing; an evaluation leaves none out.
    """
    for name in dataset_names:
        with collecting_faults():
            records = DatasetCatalog.get(name)
        missing = missing_images(records) if isinstance(records, list) else []
        if missing:
            shown = shlex.quote(name)  # of a dataset string, for the shell
            raise DataError(
                f"{len(missing)} of {len(records)} images of {name!r} (DATASETS.TEST) are missing, "
                f"for instance {missing[0]}. An evaluation needs all of them. Put them back, or "
                f"write a copy of the set without them: d2lite data check {shown} --fix OUT.json"
            )


def check_test_classes(
    cfg: CfgNode, dataset_name: str, model_classes: Sequence[str] | None
) -> None:
    """Check that a model's class numbers mean the classes of an evaluation set.

    A model of more classes than the set has is evaluated with a warning.

    Args:
        cfg: has the model's number of classes.
        dataset_name: the evaluation set.
        model_classes: the names of the model's classes; None if they are not known.

    Raises:
        ConfigError: if the model has fewer classes, or other names.
    """
    if model_classes is not None:
        follow_class_order(dataset_name, model_classes)
    names = get_class_names(dataset_name)
    if names is None:
        return
    if model_classes is not None and list(model_classes) != names:
        raise ConfigError(
            f"The evaluation set {dataset_name!r} has other classes than the model.\n"
            f"  model: {len(model_classes)} classes: {', '.join(model_classes)}\n"
            f"  data:  {len(names)} classes: {', '.join(names)}\n"
            "Evaluate on a set with the model's classes."
        )
    held = ClassKey.of(cfg)
    if held.count is not None and held.count != len(names):
        message = (
            f"{held.shown}={held.count} does not fit the evaluation set {dataset_name!r} "
            f"with its {len(names)} classes: {', '.join(names)}. Give the config that the weights "
            "were trained with (OUTPUT_DIR/config.yaml of the training)."
        )
        if held.count < len(names):
            raise ConfigError(message)
        logger.warning(message)
