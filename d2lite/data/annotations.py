"""Dataset annotations through the transforms of their image, and into `Instances`.

An annotation is a dict of one object: bbox, bbox_mode, category_id, segmentation, keypoints.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2lite.data.transforms.labels import (
    transform_boxes,
    transform_mask,
    transform_points,
    transform_polygons,
)
from d2lite.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    Keypoints,
    PolygonMasks,
    draw_polygons,
)
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError

from .transforms import (
    AffineTransform,
    CropTransform,
    HFlipTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

MASK_FORMATS = ("polygon", "bitmask")


def check_mask_format(mask_format: str) -> None:
    """Refuse what is not one of `MASK_FORMATS`."""
    if mask_format not in MASK_FORMATS:
        raise ConfigError(
            f"INPUT.MASK_FORMAT is {mask_format!r}; choose one of {', '.join(MASK_FORMATS)}."
        )


def get_bbox(annotation: Mapping[str, Any]) -> np.ndarray:
    """The (4,) box of an annotation, xyxy in pixels."""
    xyxy = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    return np.asarray(xyxy, dtype=np.float64)


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict[str, Any]:
    """Do to an annotation what was done to its image, in place.

    Args:
        annotation: one object; bbox, segmentation and keypoints are transformed where present.
        transforms: what was done.
        image_size: height and width after it.
        keypoint_hflip_indices: see `shared_metadata.create_keypoint_hflip_indices`.

    Returns:
        The same dict. The box is xyxy, cut to the image; polygons are flat arrays; an RLE becomes
        a (H, W) uint8 bitmap; keypoints are (K, 3), see `transform_keypoint_annotations`.

    Raises:
        DataError: if the segmentation is of no known kind or does not fit the image.
    """
    transforms = as_one_transform(transforms)
    if "bbox" in annotation:
        height, width = image_size
        # DIFFERS: what a crop cut off stays cut off, whatever follows.
        box = transform_boxes(transforms, get_bbox(annotation))[0]
        annotation["bbox"] = box.clip(0, [width, height, width, height])
        annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(
            annotation["segmentation"], transforms, image_size
        )
    if "keypoints" in annotation:
        annotation["keypoints"] = transform_keypoint_annotations(
            annotation["keypoints"], transforms, image_size, keypoint_hflip_indices
        )
    return annotation


def as_one_transform(transforms: Transform | Sequence[Transform]) -> Transform:
    """The transform itself, or the list of several as one."""
    return TransformList(list(transforms)) if isinstance(transforms, (list, tuple)) else transforms


def _transform_segmentation(
    segmentation: Any, transforms: Transform, image_size: tuple[int, int]
) -> list[np.ndarray] | np.ndarray:
    """Polygons or a bitmap, in pixels of the transformed image."""
    if isinstance(segmentation, list):
        return [p.reshape(-1) for p in transform_polygons(transforms, segmentation)]
    mask = transform_mask(transforms, bitmap(segmentation))
    if mask.shape[:2] != tuple(image_size):
        raise DataError(
            f"A mask became {mask.shape[:2]} by the transforms of its image, which is "
            f"{tuple(image_size)} now (height, width): it was not as large as the image."
        )
    return mask


def bitmap(segmentation: Any) -> np.ndarray:
    """(H, W) uint8 bitmap of a COCO RLE (packed or as counts) or of a bitmap."""
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return segmentation
    if isinstance(segmentation, dict) and {"counts", "size"} <= segmentation.keys():
        return rle.decode(segmentation)
    raise DataError(
        f"Cannot read a segmentation of type {type(segmentation).__name__}. Give a list of "
        "polygons [x0, y0, x1, y1, ...], a COCO RLE dict of counts and size, or a (H, W) array."
    )


def transform_keypoint_annotations(
    keypoints: Any,
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
    keypoint_hflip_indices: np.ndarray | None = None,
) -> np.ndarray:
    """Do to keypoints what was done to their image.

    Points that are not labelled, or outside the image now, get (0, 0, 0). If the image was
    mirrored, left and right change their names.

    Args:
        keypoints: 3 * K numbers, x, y in pixels and visibility (0, 1, 2).
        transforms: what was done.
        image_size: height and width after it.
        keypoint_hflip_indices: (K,) int, see `create_keypoint_hflip_indices`; needed where the
            image was mirrored.

    Returns:
        (K, 3) float64.

    Raises:
        DataError: if there are other numbers of keypoints and of indices, or none of these for
            a mirrored image.
    """
    transforms = as_one_transform(transforms)
    points = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    points[:, :2], was_inside = transform_points(transforms, points[:, :2])
    height, width = image_size
    is_inside = was_inside & ((points[:, :2] >= 0) & (points[:, :2] <= [width, height])).all(axis=1)
    points[~is_inside, 2] = 0
    if keypoint_hflip_indices is not None:
        if len(keypoint_hflip_indices) != len(points):
            raise DataError(
                f"An object has {len(points)} keypoints, but its dataset's metadata "
                f"(keypoint_names) names {len(keypoint_hflip_indices)}."
            )
        if _is_mirrored(transforms):
            points = points[np.asarray(keypoint_hflip_indices)]
    elif _is_mirrored(transforms):
        raise DataError(
            "The image was mirrored, and nothing says which keypoints change sides. Give "
            "keypoint_hflip_indices=create_keypoint_hflip_indices(names of the datasets)."
        )
    points[points[:, 2] == 0] = 0
    return points


def _is_mirrored(transforms: Transform) -> bool:
    """Whether left has become right: after an odd number of flips."""
    steps = transforms.transforms if isinstance(transforms, TransformList) else [transforms]
    # DIFFERS: a vertical flip counts too; it shows the mirrored person, upside down.
    return sum(map(_turns_over, steps)) % 2 == 1


def _turns_over(step: Transform) -> bool:
    if isinstance(step, AffineTransform):
        return step.is_mirroring
    return isinstance(step, (HFlipTransform, VFlipTransform))


def transform_proposals(
    dataset_dict: dict[str, Any],
    image_shape: tuple[int, int],
    transforms: Transform | Sequence[Transform],
    *,
    proposal_topk: int,
    min_box_size: float = 0,
) -> None:
    """Replace the raw proposals of a dataset dict by `proposals`, an `Instances`, in place.

    Args:
        dataset_dict: proposal_boxes (N, 4), proposal_bbox_mode and proposal_objectness_logits
            (N,), best first; nothing is done where they are absent.
        image_shape: height and width after the transforms.
        transforms: what was done to the image.
        proposal_topk: how many to keep.
        min_box_size: only boxes wider and higher than this are kept, pixels.
    """
    if "proposal_boxes" not in dataset_dict:
        return
    raw = np.asarray(dataset_dict.pop("proposal_boxes"), dtype=np.float32).reshape(-1, 4)
    xyxy = BoxMode.convert(raw, dataset_dict.pop("proposal_bbox_mode"), BoxMode.XYXY_ABS)
    logits = np.asarray(dataset_dict.pop("proposal_objectness_logits"), dtype=np.float32)
    boxes = Boxes(
        torch.as_tensor(transform_boxes(as_one_transform(transforms), xyxy), dtype=torch.float32)
    )
    boxes.clip(image_shape)
    proposals = Instances(
        image_shape, proposal_boxes=boxes, objectness_logits=torch.as_tensor(logits)
    )
    large = torch.nonzero(boxes.nonempty(threshold=min_box_size)).flatten()
    dataset_dict["proposals"] = proposals[large[:proposal_topk]]


def annotations_to_instances(
    annos: Sequence[Mapping[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """What the models learn from: the annotations of an image as `Instances`.

    Args:
        annos: objects of one image, in pixels of the network's input.
        image_size: its height and width.
        mask_format: "polygon" keeps polygons, "bitmask" makes bitmaps of all segmentations.

    Returns:
        gt_boxes (N), gt_classes (N,) int64, and gt_masks and gt_keypoints if any object has
        them; an object that lacks what others have gets an empty mask or unlabelled keypoints.

    Raises:
        ConfigError: for another mask format, or bitmaps in a run with polygons.
    """
    check_mask_format(mask_format)
    boxes = np.stack([get_bbox(a) for a in annos]) if annos else np.zeros((0, 4))
    target = Instances(image_size)
    target.gt_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
    target.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    if any("segmentation" in a for a in annos):
        segmentations = [a.get("segmentation", []) for a in annos]
        target.gt_masks = _masks(segmentations, image_size, mask_format)
    if any("keypoints" in a for a in annos):
        target.gt_keypoints = Keypoints(_keypoints(annos))
    return target


def _masks(
    segmentations: list[Any], image_size: tuple[int, int], mask_format: str
) -> PolygonMasks | BitMasks:
    if mask_format == "bitmask":
        bitmaps = [None if isinstance(mask, list) else bitmap(mask) for mask in segmentations]
        # DIFFERS from a check against the image: bitmaps of another size are taken as they are, as
        # detectron2 does.
        shapes = {mask.shape for mask in bitmaps if mask is not None}
        if any(mask is None for mask in bitmaps) or not shapes:
            shapes.add(tuple(image_size))
        if len(shapes) > 1:
            raise DataError(
                f"The masks of an image have different sizes (height, width): {sorted(shapes)}; "
                f"the image is {tuple(image_size)}."
            )
        maps = np.zeros((len(segmentations), *shapes.pop()), dtype=bool)
        for row, segmentation, mask in zip(maps, segmentations, bitmaps, strict=True):
            if mask is None:
                draw_polygons(row, segmentation)
            else:
                row[:] = mask
        return BitMasks(torch.from_numpy(maps))
    if not all(isinstance(s, list) for s in segmentations):
        raise ConfigError(
            "Some objects have bitmaps or RLE as segmentation, which INPUT.MASK_FORMAT 'polygon' "
            "cannot hold. Set INPUT.MASK_FORMAT bitmask."
        )
    return PolygonMasks(segmentations)


def _keypoints(annos: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """(N, K, 3) float32; zeros, which mean unlabelled, for objects without keypoints."""
    rows = [np.asarray(a.get("keypoints", ()), dtype=np.float32).reshape(-1, 3) for a in annos]
    count = max(len(row) for row in rows)
    table = np.zeros((len(rows), count, 3), dtype=np.float32)
    for row, points in zip(table, rows, strict=True):
        if len(points) not in (0, count):
            raise DataError(
                f"One object has {len(points)} keypoints, another one in the same image {count}; "
                "all objects of a dataset must have the same number."
            )
        row[: len(points)] = points
    return torch.from_numpy(table)


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """Drop objects of which nothing is left, for instance after a crop.

    Args:
        instances: with gt_boxes or gt_masks.
        by_box: drop boxes of no area.
        by_mask: drop empty masks, where there are masks.
        box_threshold: a box not wider and higher than this many pixels counts as empty.
        return_mask: also return which were kept.

    Returns:
        The kept instances, and with `return_mask` a (N,) bool tensor.

    Raises:
        DataError: if neither box nor mask is to be looked at.
    """
    if not (by_box or by_mask):
        raise DataError("filter_empty_instances needs by_box or by_mask; both are False.")
    keep = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        keep &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        keep &= instances.gt_masks.nonempty()
    # Picking all would copy every bitmap.
    kept = instances if bool(keep.all()) else instances[keep]
    return (kept, keep) if return_mask else kept


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: Mapping[str, Any]
) -> CropTransform:
    """A random crop that holds the middle of an object.

    Args:
        crop_size: height and width of the crop.
        image_size: height and width of the image, no less than the crop's.
        instance: an annotation, with a box.

    Raises:
        DataError: if the crop is larger than the image or the object is outside it.
    """
    crop, size = np.asarray(crop_size, dtype=np.int64), np.asarray(image_size, dtype=np.int64)
    x0, y0, x1, y1 = get_bbox(instance)
    middle = np.array([y0 + y1, x0 + x1]) / 2
    if (crop > size).any():
        raise DataError(f"A crop of {tuple(crop_size)} does not fit an image of {image_size}.")
    if (middle < 0).any() or (middle > size).any():
        box = tuple(map(float, (x0, y0, x1, y1)))
        raise DataError(f"The object with box {box} is outside its image of {tuple(image_size)}.")
    least = np.maximum(np.ceil(middle - crop), 0).astype(np.int64)
    greatest = np.minimum(np.floor(middle).astype(np.int64), size - crop)
    top, left = (int(np.random.randint(lo, hi + 1)) for lo, hi in zip(least, greatest, strict=True))
    return CropTransform(
        left, top, int(crop[1]), int(crop[0]), orig_w=int(size[1]), orig_h=int(size[0])
    )
