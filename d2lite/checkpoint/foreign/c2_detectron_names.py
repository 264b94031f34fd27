"""Blob names and class order of Caffe2 Detectron's whole detectors, converted to ours.

A blob called `fpn_inner_res3_3_sum_lateral_w` becomes `fpn_lateral3.weight`. Detectron's class 0
is the background; ours is the last one in classification, and boxes and masks have none.
"""

import re
from collections.abc import Mapping

import torch

from d2lite.utils.errors import WeightsError

from .c2_names import convert_basic_c2_names

# Start of a name after the basic conversion -> what replaces it; the first one that fits counts.
# A pyramid's levels share one RPN, whose blobs have the name of the second level.
_RULES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"conv\.rpn(\.fpn2)?(?=\.)", "proposal_generator.rpn_head.conv"),
        (r"rpn\.bbox\.pred(\.fpn2)?(?=\.)", "proposal_generator.rpn_head.anchor_deltas"),
        (r"rpn\.cls\.logits(\.fpn2)?(?=\.)", "proposal_generator.rpn_head.objectness_logits"),
        (r"fpn\.inner\.res(\d)\.\d+\.sum(\.lateral)?(?=\.)", r"fpn_lateral\1"),
        (r"fpn\.res(\d)\.\d+\.sum(?=\.)", r"fpn_output\1"),
        (r"bbox\.pred(?=\.)", "bbox_pred"),
        (r"cls\.score(?=\.)", "cls_score"),
        (r"fc6(?=\.)", "box_head.fc1"),
        (r"fc7(?=\.)", "box_head.fc2"),
        (r"head\.conv(\d)(?=\.)", r"box_head.conv\1"),
        (r"mask\.fcn\.logits(?=\.)", "mask_head.predictor"),
        (r"\.?\[mask\]\.fcn(\d)(?=\.)", r"mask_head.mask_fcn\1"),
        (r"conv5\.mask(?=\.)", "mask_head.deconv"),
        (r"kps\.score\.lowres(?=\.)", "keypoint_head.score_lowres"),
        (r"kps\.score(?=\.)", "keypoint_head.score"),
        (r"conv\.fcn(\d)(?=\.)", r"keypoint_head.conv_fcn\1"),
        (r"fpn\.([67])(?=\.)", r"top_block.p\1"),
        (r"retnet\.cls\.pred(\.fpn\d)?(?=\.)", "head.cls_score"),
        (r"retnet\.bbox\.pred(\.fpn\d)?(?=\.)", "head.bbox_pred"),
    )
]

# RetinaNet's towers count their convolutions; ours have a ReLU after each.
_TOWER = re.compile(r"retnet\.(cls|bbox)\.conv\.n(\d)(\.fpn\d)?(?=\.)")


def convert_c2_detectron_names(
    weights: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Translate a detector of Caffe2 Detectron.

    Args:
        weights: blob name -> tensor.

    Returns:
        Our names, as endings of a model's, -> tensors in our order of classes; and our names ->
        blob names.

    Raises:
        WeightsError: if two blobs get one name.
    """
    blob_of: dict[str, str] = {}
    converted: dict[str, torch.Tensor] = {}
    for blob, basic in zip(weights, convert_basic_c2_names(weights), strict=True):
        name = _rename(basic)
        if name in blob_of:
            raise WeightsError(
                f"The blobs {blob_of[name]!r} and {blob!r} would both become {name!r}; this file "
                "is not one of Caffe2 Detectron's."
            )
        blob_of[name] = blob
        converted[name] = _without_background(name, weights[blob])
    return converted, blob_of


def _rename(name: str) -> str:
    if tower := _TOWER.match(name):
        return f"head.{tower[1]}_subnet.{2 * int(tower[2])}{name[tower.end() :]}"
    for pattern, ours in _RULES:
        renamed, count = pattern.subn(ours, name, count=1) if pattern.match(name) else (name, 0)
        if count:
            return renamed
    return name


def _without_background(name: str, value: torch.Tensor) -> torch.Tensor:
    module = name.rpartition(".")[0]
    if module == "cls_score":
        return torch.cat([value[1:], value[:1]])
    if module == "bbox_pred":  # four numbers a class
        return value[4:]
    if module == "mask_head.predictor" and len(value) > 1:  # one map: all classes share it
        return value[1:]
    return value
