"""Proof that an exported file gives what the model gives: both run on images of a dataset."""

import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from d2lite.engine import DefaultTrainer
from d2lite.engine.derived_config import check_test_classes
from d2lite.utils.errors import DataError, UserError

from .comparison import Difference, Tolerance, compare_results

__all__ = ["as_given", "find_images", "prove"]

logger = logging.getLogger(__name__)

# Drawn images of this package, for models whose own data are not here.
_DRAWN = "shapes_val"
_IN_A_BATCH = 3
# Of the detections in an image of one colour.
_MATCHED_OF_EVEN = 0.5
# Evaluators that read the labels of a whole set, and would count those of the other images.
_WHOLE_SETS = ("pascal_voc", "lvis")


def prove(
    cfg: CfgNode,
    model: nn.Module,
    exported: nn.Module,
    tolerance: Tolerance,
    *,
    images: tuple[str, list[dict[str, Any]]],
    in_batches: bool = True,
    resizes: bool = True,
) -> dict[str, Any]:
    """Run both on the first images of a dataset, one by one, in a batch, and after an empty image.

    Args:
        cfg: of the model.
        model: in evaluation mode.
        exported: an `ExportedModel`.
        tolerance: what counts as equal.
        images: what `find_images` gives.
        in_batches: whether the file takes several images at once.
        resizes: whether the file resizes images.

    Returns:
        Plain values: `agrees`, `disagreements` (name of an image and what differs), the largest
        differences, the share of matched detections, `ap` of both where the images have labels of
        the model's classes, and the differences of each image.
    """
    name, records = images
    mappers = [DatasetMapper(each, False) for each in (cfg, as_given(cfg) if resizes else cfg)]
    with _subset(name, records) as subset:
        rows, ap = _run_one_by_one(cfg, mappers, model, exported, subset, records, tolerance)
    rows += _run_with_an_empty_image(
        cfg, mappers, model, exported, records[:_IN_A_BATCH], tolerance, in_batches=in_batches
    )
    faulty = {row["image"]: row["faults"] for row in rows if row["faults"]}
    return {
        "agrees": not faulty,
        "disagreements": faulty,
        "data": name,
        "num_images": len(records),
        "tolerance": tolerance._asdict(),
        "largest": {
            key: max((row[key] for row in rows if row[key] is not None), default=None)
            for key in ("score", "box", "mask", "keypoint")
        },
        "detections": sum(row["detections"] for row in rows),
        "matched": _mean_matched(rows),
        "least_equal_pixels": min(
            (r["pixels"] for r in rows if r["pixels"] is not None), default=None
        ),
        "ap": ap,
        "images": rows,
    }


def _mean_matched(rows: Sequence[dict[str, Any]]) -> float | None:
    """Share of all detections that are matched; None without detections."""
    total = sum(row["detections"] for row in rows)
    return sum(row["matched"] * row["detections"] for row in rows) / total if total else None


def find_images(cfg: CfgNode, data: str | None, count: int) -> tuple[str, list[dict[str, Any]]]:
    """A name and the first records of a dataset, whose first image can be read.

    Args:
        cfg: DATASETS.TEST names the dataset by default, the shapes that this package draws where
            that is not on this machine.
        data: another dataset.
        count: of the records.

    Raises:
        UserError: if there is no dataset `data`, or its first image cannot be read.
    """
    if data is not None:
        return data, _records(cfg, data, count)
    for name in cfg.DATASETS.TEST:
        try:
            return name, _records(cfg, name, count)
        except (UserError, OSError, KeyError) as error:
            logger.info(f"{name} is not used for the proof: {error}")
    logger.info("The proof is made on drawn shapes; name a dataset of the model by --data")
    return _DRAWN, _records(cfg, _DRAWN, count)


def _records(cfg: CfgNode, name: str, count: int) -> list[dict[str, Any]]:
    records = list(DatasetCatalog.get(name))[:count]
    if not records:
        raise DataError(f"The dataset {name} has no images.")
    DatasetMapper(cfg, False)(copy.deepcopy(records[0]))
    return records


@contextmanager
def _subset(name: str, records: list[dict[str, Any]]) -> Iterator[str]:
    """Some images of a dataset as a set of their own, which an evaluator can be built for."""
    known = MetadataCatalog.get(name).as_dict()
    subset = f"__proof_of_{name}"
    DatasetCatalog.register(subset, lambda: copy.deepcopy(records))
    # The file of all images is left out: the evaluator makes one of these.
    kept = {key: value for key, value in known.items() if key not in ("name", "json_file")}
    if known.get("evaluator_type") in _WHOLE_SETS:
        kept["evaluator_type"] = "coco"
    MetadataCatalog.get(subset).set(**kept)
    try:
        yield subset
    finally:
        DatasetCatalog.remove(subset)
        MetadataCatalog.remove(subset)


def _run_one_by_one(
    cfg: CfgNode,
    mappers: Sequence[DatasetMapper],
    model: nn.Module,
    exported: nn.Module,
    subset: str,
    records: list[dict[str, Any]],
    tolerance: Tolerance,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        evaluators = _evaluators(cfg, model, subset, folder, records)
        for record in records:
            items = _inputs(mappers, [record])
            expected, found = _both(model, exported, items)
            for evaluator, outputs in zip(evaluators, (expected, found), strict=False):
                evaluator.process(items[0], outputs)
            rows.append(
                _row(str(record["file_name"]), items[1][0], expected[0], found[0], cfg, tolerance)
            )
        scores = [evaluator.evaluate() for evaluator in evaluators]
    if len(scores) != 2:
        return rows, None
    ap = {
        task: {"model": ours["AP"], "file": scores[1][task]["AP"]}
        for task, ours in scores[0].items()
        if "AP" in ours
    }
    return rows, ap or None


def _evaluators(
    cfg: CfgNode, model: nn.Module, subset: str, folder: str, records: list[dict[str, Any]]
) -> list[Any]:
    if not any(record.get("annotations") for record in records):
        return []
    try:
        check_test_classes(cfg, subset, getattr(model, "class_names", None))
        built = [DefaultTrainer.build_evaluator(cfg, subset, f"{folder}/{i}") for i in range(2)]
    except UserError as error:
        logger.info(f"No AP: {error}")
        return []
    for evaluator in built:
        evaluator.reset()
    return built


def _run_with_an_empty_image(
    cfg: CfgNode,
    mappers: Sequence[DatasetMapper],
    model: nn.Module,
    exported: nn.Module,
    records: list[dict[str, Any]],
    tolerance: Tolerance,
    *,
    in_batches: bool,
) -> list[dict[str, Any]]:
    """Images of their own sizes and an empty one in one batch, the empty one alone, and another."""
    resized, given = _inputs(mappers, records)
    empty_seen, empty = (
        {**items[0], "image": torch.zeros_like(items[0]["image"])} for items in (resized, given)
    )
    rows = []
    parts = (
        ("in a batch", [*resized, empty_seen], [*given, empty]),
        ("alone", [empty_seen], [empty]),
        ("after an empty image", resized[:1], given[:1]),
    )
    for label, seen, raw in parts[0 if in_batches else 1 :]:
        names = ["an empty image" if item is empty else str(item["file_name"]) for item in raw]
        for name, item, expected, found in zip(
            names, raw, *_both(model, exported, (seen, raw)), strict=True
        ):
            row = _row(
                *(f"{name} ({label})", item, expected, found, cfg, tolerance), is_even=item is empty
            )
            rows.append(row)
    return rows


def as_given(cfg: CfgNode) -> CfgNode:
    """A copy of a configuration that leaves images as they are in their files.

    Args:
        cfg: a full configuration.
    """
    raw = cfg.clone()
    raw.defrost()
    raw.INPUT.MIN_SIZE_TEST, raw.INPUT.AUGMENTATIONS_TEST = 0, ()
    return raw


def _inputs(
    mappers: Sequence[DatasetMapper], records: list[dict[str, Any]]
) -> tuple[list[Any], list[Any]]:
    """Inputs of the model, and of the file."""
    seen, given = ([mapper(copy.deepcopy(r)) for r in records] for mapper in mappers)
    return seen, given


def _both(model: nn.Module, exported: nn.Module, items: Sequence[list[Any]]) -> tuple[Any, Any]:
    with torch.inference_mode():
        expected = [_on_cpu(outputs) for outputs in model(items[0])]
        return expected, exported(items[1])


def _on_cpu(outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.to("cpu") if hasattr(value, "to") else value for name, value in outputs.items()
    }


def _row(
    name: str,
    item: dict[str, Any],
    expected: dict[str, Any],
    found: dict[str, Any],
    cfg: CfgNode,
    tolerance: Tolerance,
    *,
    is_even: bool = False,
) -> dict[str, Any]:
    lowest = _lowest_score(cfg) + tolerance.score
    difference: Difference = compare_results(expected, found, lowest)
    if is_even:
        # Its cells score the same, and rounding decides which of their boxes are kept: places are
        # not compared, and so not stated either.
        difference.box = difference.mask = difference.keypoint = None
        tolerance = tolerance._replace(matched=min(tolerance.matched, _MATCHED_OF_EVEN))
    long_side = max(item["height"], item["width"])
    return {
        "image": name,
        **difference.to_dict(),
        "faults": difference.faults(tolerance, long_side),
    }


def _lowest_score(cfg: CfgNode) -> float:
    """The score that detections of the model exceed."""
    sections = {"GeneralizedRCNN": "ROI_HEADS", "PanopticFPN": "ROI_HEADS"}
    name = cfg.MODEL.META_ARCHITECTURE
    node = cfg.MODEL.get(sections.get(name, name.upper()))
    return float(node.get("SCORE_THRESH_TEST", 0.0)) if node is not None else 0.0
