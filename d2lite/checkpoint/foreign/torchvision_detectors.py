"""torchvision's names and layouts of whole detectors, turned into ours.

K classes, A anchors a cell. torchvision's class 0 is the background in every layer; ours comes
after the classes, in the one layer that has it.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from .torchvision_names import rename_torchvision_resnet

_BODY = "backbone.body."
_Rule = tuple[str, Callable[[re.Match[str]], str]]


def is_torchvision_detector(names: Mapping[str, object]) -> bool:
    """Whether the names are those of a detector of torchvision: a ResNet, a pyramid and heads."""
    has_pyramid = any(name.startswith("backbone.fpn.inner_blocks.") for name in names)
    return has_pyramid and f"{_BODY}conv1.weight" in names


def convert_torchvision_detector(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of Faster, Mask, Keypoint R-CNN, RetinaNet or FCOS our names and layout.

    The rows of the background move to the end where it is scored, and are removed where nothing
    was learnt for it. K is 90 for weights trained on COCO: torchvision's classes are COCO's own
    ids, of which 10 are not used.

    Args:
        weights: torchvision's names to tensors.

    Returns:
        Our names to tensors; what is not known keeps its name.
    """
    body = {n.removeprefix(_BODY): v for n, v in weights.items() if n.startswith(_BODY)}
    renamed = rename_torchvision_resnet(body)
    converted = {f"backbone.bottom_up.{name}": value for name, value in renamed.items()}
    rules = _naming_rules(weights)
    layouts = _layouts(weights)
    for name, value in weights.items():
        if name.startswith(_BODY):
            continue
        ours = name
        for pattern, rename in rules:
            found = re.fullmatch(pattern, name)
            if found:
                ours = rename(found)
                break
        change = layouts.get(ours.rpartition(".")[0])
        converted[ours] = value if change is None else change(value)
    # Before a norm torchvision leaves out the bias that our towers always have.
    for name, value in list(converted.items()):
        if re.fullmatch(r"head\.\w+_subnet\.\d+\.weight", name) and value.dim() == 4:
            bias = name.replace("weight", "bias")
            converted.setdefault(bias, value.new_zeros(len(value)))
    return converted


def _naming_rules(weights: Mapping[str, Tensor]) -> list[_Rule]:
    """(pattern, match -> our name); the first that fits counts."""
    # The finest level of a pyramid has stride 4 in an R-CNN and 8 in a detector without proposals.
    finest = 2 if any(name.startswith("rpn.") for name in weights) else 3
    is_deep_rpn = "rpn.head.conv.1.0.weight" in weights
    # Convolution and activation, or convolution, norm and activation.
    block = 3 if "head.classification_head.conv.0.1.weight" in weights else 2

    def level(found: re.Match[str]) -> str:
        kind = {"inner": "lateral", "layer": "output"}[found[1]]
        return f"backbone.fpn_{kind}{int(found[2]) + finest}{_end(found[3], found[4])}"

    def rpn_conv(found: re.Match[str]) -> str:
        number = f".conv{found[1]}" if is_deep_rpn else ""
        return f"proposal_generator.rpn_head.conv{number}.{found[2]}"

    def region_conv(found: re.Match[str]) -> str:
        stem = {"box": "conv", "mask": "mask_fcn"}[found[1]]
        number = int(found[2]) + 1
        return f"roi_heads.{found[1]}_head.{stem}{number}{_end(found[3], found[4])}"

    def subnet(found: re.Match[str]) -> str:
        kind = {"classification": "cls", "regression": "bbox"}[found[1]]
        place = int(found[2])
        # Newer versions put each convolution into a block of its own; ours is one flat chain.
        if found[3] is not None:
            place = block * place + int(found[3])
        return f"head.{kind}_subnet.{place}.{found[4]}"

    def keypoint_conv(found: re.Match[str]) -> str:
        return f"roi_heads.keypoint_head.conv_fcn{int(found[1]) // 2 + 1}.{found[2]}"

    pyramid = r"backbone\.fpn\.(inner|layer)_blocks\.(\d)(?:\.([01]))?\.(\w+)"
    dense_head = r"head\.(classification|regression)_head\.conv\.(\d+)(?:\.([01]))?\.(\w+)"
    return [
        (pyramid, level),
        (r"rpn\.head\.conv\.(\d)\.0\.(\w+)", rpn_conv),
        (r"roi_heads\.(box|mask)_head\.(\d)\.([01])\.(\w+)", region_conv),
        (r"roi_heads\.keypoint_head\.(\d+)\.(\w+)", keypoint_conv),
        (dense_head, subnet),
        *((rf"{theirs}\.(\w+)", _prefix_rule(ours)) for theirs, ours in _MODULES.items()),
    ]


# Their modules (a pattern) to ours.
_MODULES = {
    r"backbone\.fpn\.extra_blocks\.p6": "backbone.top_block.p6",
    r"backbone\.fpn\.extra_blocks\.p7": "backbone.top_block.p7",
    r"rpn\.head\.conv": "proposal_generator.rpn_head.conv",
    r"rpn\.head\.cls_logits": "proposal_generator.rpn_head.objectness_logits",
    r"rpn\.head\.bbox_pred": "proposal_generator.rpn_head.anchor_deltas",
    r"roi_heads\.box_head\.fc6": "roi_heads.box_head.fc1",
    r"roi_heads\.box_head\.fc7": "roi_heads.box_head.fc2",
    # One linear layer comes after four convolutions.
    r"roi_heads\.box_head\.\d": "roi_heads.box_head.fc1",
    r"roi_heads\.mask_predictor\.conv5_mask": "roi_heads.mask_head.deconv",
    r"roi_heads\.mask_predictor\.mask_fcn_logits": "roi_heads.mask_head.predictor",
    r"roi_heads\.keypoint_predictor\.kps_score_lowres": "roi_heads.keypoint_head.score_lowres",
    r"head\.classification_head\.cls_logits": "head.cls_score",
    r"head\.regression_head\.bbox_reg": "head.bbox_pred",
    r"head\.regression_head\.bbox_ctrness": "head.ctrness",
}


def _prefix_rule(ours: str) -> Callable[[re.Match[str]], str]:
    return lambda found: f"{ours}.{found[1]}"


def _end(part: str | None, leaf: str) -> str:
    """Part 0 of a block is the convolution, part 1 its norm."""
    return f".norm.{leaf}" if part == "1" else f".{leaf}"


def _layouts(weights: Mapping[str, Tensor]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Our module -> how the rows of its weights and biases have to be moved."""
    boxes = weights.get("head.regression_head.bbox_reg.bias")
    num_anchors = 1 if boxes is None else len(boxes) // 4
    return {
        "roi_heads.box_predictor.cls_score": lambda rows: rows.roll(-1, dims=0),
        "roi_heads.box_predictor.bbox_pred": lambda rows: rows[4:],
        "roi_heads.mask_head.predictor": lambda rows: rows[1:],
        "head.cls_score": lambda rows: _ordered(rows, num_anchors)[:, 1:].flatten(0, 1),
        "head.bbox_pred": lambda rows: _ordered(rows, num_anchors).flatten(0, 1),
    }


def _ordered(rows: Tensor, num_anchors: int) -> Tensor:
    """(A * n, ...) -> (A, n, ...) with the anchors of a cell in our order.

    torchvision counts shape by shape and all sizes of each; we size by size.
    """
    inside = rows.shape[1:]
    by_anchor = rows.reshape(num_anchors, -1, *inside)
    if num_anchors % 3:
        return by_anchor
    by_shape = by_anchor.reshape(3, num_anchors // 3, *by_anchor.shape[1:])
    return by_shape.transpose(0, 1).flatten(0, 1)
