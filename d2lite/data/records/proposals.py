"""Precomputed proposals: read a file of them and add them to the dataset dicts."""

import logging
from typing import Any

import numpy as np

from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager
from d2lite.utils.pickle_limits import DamagedPickle, RefusedPickle
from d2lite.utils.safe_pickle import read_pickle

logger = logging.getLogger(__name__)

# Fields as files of the Caffe2 age call them.
_OLD_NAMES = {"indexes": "ids", "scores": "objectness_logits"}


def load_proposals_into_dataset(
    dataset_dicts: list[dict[str, Any]], proposal_file: str
) -> list[dict[str, Any]]:
    """Give each image its precomputed proposals, best first.

    Args:
        dataset_dicts: records with "image_id".
        proposal_file: a pickled dict of equally long lists "ids" (image ids), "boxes" ((R, 4)
            arrays) and "objectness_logits" ((R,) arrays), and optionally "bbox_mode".

    Returns:
        New records that have "proposal_boxes" (R, 4), "proposal_objectness_logits" (R,) and
        "proposal_bbox_mode" besides.

    Raises:
        MissingFileError: if the file is not there.
        DataError: if it holds something else, or lacks an image.
    """
    logger.info("Loading proposals from %s", proposal_file)
    proposals = _read(proposal_file)
    place = {str(image_id): i for i, image_id in enumerate(proposals["ids"])}
    missing = [r["image_id"] for r in dataset_dicts if str(r["image_id"]) not in place]
    if missing:
        raise DataError(
            f"{proposal_file} has no proposals for {len(missing)} of {len(dataset_dicts)} images, "
            f"for instance image {missing[0]!r}. Is it the file of another dataset "
            "(DATASETS.PROPOSAL_FILES_*)?"
        )
    mode = BoxMode(proposals.get("bbox_mode", BoxMode.XYXY_ABS))
    return [
        {**record, **_best_first(proposals, place[str(record["image_id"])], mode)}
        for record in dataset_dicts
    ]


def _best_first(proposals: dict[str, Any], place: int, mode: BoxMode) -> dict[str, Any]:
    logits = np.asarray(proposals["objectness_logits"][place])
    order = np.argsort(-logits, kind="stable")
    return {
        "proposal_boxes": np.asarray(proposals["boxes"][place])[order],
        "proposal_objectness_logits": logits[order],
        "proposal_bbox_mode": mode,
    }


def _read(proposal_file: str) -> dict[str, Any]:
    path = PathManager.get_local_path(proposal_file)
    try:
        content = read_pickle(path, enums=["BoxMode"])
    except FileNotFoundError as err:
        raise MissingFileError(
            f"The proposal file {proposal_file} is missing (DATASETS.PROPOSAL_FILES_*)."
        ) from err
    except RefusedPickle as err:
        raise DataError(
            f"{proposal_file} is refused: it holds {err}, and a pickle may run code. A file of "
            "proposals holds numpy arrays of numbers, numbers and texts, in dicts and lists."
        ) from err
    except DamagedPickle as err:
        raise DataError(f"{proposal_file} is damaged or not a pickle ({err}).") from err
    if not isinstance(content, dict):
        raise DataError(f"{proposal_file} holds a {type(content).__name__}, not a dict.")
    content = {_OLD_NAMES.get(key, key): value for key, value in content.items()}
    lacking = {"ids", "boxes", "objectness_logits"} - set(content)
    if lacking:
        raise DataError(f"{proposal_file} lacks {', '.join(sorted(lacking))}.")
    return content
