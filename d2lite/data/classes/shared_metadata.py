"""What datasets that are used together must agree on, and what follows from it."""

from collections.abc import Sequence

import torch

from d2lite.data.catalog import MetadataCatalog
from d2lite.utils.errors import DataError

from .keypoints import flip_pairs


def create_keypoint_hflip_indices(dataset_names: str | Sequence[str]) -> list[int]:
    """For each keypoint, which one takes its place when the image is mirrored.

    Args:
        dataset_names: datasets whose metadata have keypoint_names. Where they have no
            keypoint_flip_map, it follows from the names; see `flip_pairs`.

    Raises:
        DataError: if the keypoints have no names, the map has others, or the datasets do not
            agree.
    """
    names = [dataset_names] if isinstance(dataset_names, str) else list(dataset_names)
    for key in ("keypoint_names", "keypoint_flip_map"):
        check_metadata_consistency(key, names)
    metadata = MetadataCatalog.get(names[0])
    keypoints = metadata.get("keypoint_names")
    if not keypoints:
        raise DataError(
            f"The dataset {names[0]!r} has no keypoints, or they have no names. A COCO file names "
            "them in its categories ('keypoints'; person_keypoints_*.json of COCO does), data.yaml "
            "of YOLO by kpt_shape; for a registered set use MetadataCatalog.get(NAME).set("
            "keypoint_names=..., keypoint_flip_map=...). To learn without keypoints set "
            "MODEL.KEYPOINT_ON False."
        )
    stated = metadata.get("keypoint_flip_map")
    pairs = dict(flip_pairs(keypoints) if stated is None else stated)
    partner = pairs | {right: left for left, right in pairs.items()}
    place = {name: i for i, name in enumerate(keypoints)}
    unknown = sorted(set(partner) - set(place))
    if unknown:
        raise DataError(
            f"keypoint_flip_map of the dataset {names[0]!r} names {', '.join(map(repr, unknown))}, "
            f"which keypoint_names do not have: {', '.join(keypoints)}."
        )
    return [place[partner.get(name, name)] for name in keypoints]


def get_fed_loss_cls_weights(
    dataset_names: str | Sequence[str], freq_weight_power: float = 1.0
) -> torch.Tensor:
    """(C,) float32 weight of each class for the federated loss: its number of images, to a power.

    Args:
        dataset_names: datasets whose metadata have class_image_count, a list of dicts of a
            class's id and image_count.
        freq_weight_power: the power.
    """
    names = [dataset_names] if isinstance(dataset_names, str) else list(dataset_names)
    check_metadata_consistency("class_image_count", names)
    counts = sorted(MetadataCatalog.get(names[0]).class_image_count, key=lambda c: c["id"])
    return (
        torch.tensor([c["image_count"] for c in counts], dtype=torch.float32) ** freq_weight_power
    )


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Make sure that datasets used together agree.

    Args:
        key: a key of their metadata.
        dataset_names: one or more.

    Raises:
        DataError: if one has another value than the first.
    """
    if not dataset_names:
        raise DataError("No dataset is given, so there is no metadata (DATASETS.TRAIN).")
    values = [getattr(MetadataCatalog.get(name), key, None) for name in dataset_names]
    odd = [i for i, value in enumerate(values) if value != values[0]]
    if odd:
        lines = "\n".join(f"  {dataset_names[i]}: {values[i]}" for i in [0, *odd])
        raise DataError(f"Datasets that are used together differ in metadata.{key}:\n{lines}")
