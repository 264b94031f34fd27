"""Names of weights in checkpoints of MMDetection, versions 2 and 3."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import Rules, by_marks, compiled, renamed
from .torchvision_names import resnet_rules

_RCNN_MARKS = ("fpn_convs.0.conv.weight", "rpn_head.rpn_conv.weight")
# Weights that are averaged beside the others, and pixel statistics; those of `model` count.
LEFT_OUT = [(r"ema_\w+", ""), (r"data_preprocessor", "")]

MMDET_RTMDET = by_marks(
    ("backbone.stage4.2.attention.fc.weight", "bbox_head.rtm_reg.0.weight"),
    [
        (r"backbone", "backbone.bottom_up"),
        (r"neck", "backbone"),
        (r"bbox_head.mask_head", "mask_head"),
        (r"bbox_head", "head"),
        *LEFT_OUT,
    ],
)
"""RTMDet and RTMDet-Ins."""


def pyramid_rules(first: int = 2, levels: int = 4) -> list[tuple[str, str]]:
    """A pyramid whose finest map is "p<first>", and what is put on its maps."""
    # The pyramid is the first of a list where something is put on its maps.
    neck = r"neck(?:\.0)?"
    rules = []
    for level in range(levels):
        for theirs, ours in (
            ("lateral", f"fpn_lateral{level + first}"),
            ("fpn", f"fpn_output{level + first}"),
            ("downsample", f"bottom_up_path.downsample.{level}"),
            ("pafpn", f"bottom_up_path.output.{level}"),
        ):
            name = f"backbone.{ours}"
            rules.append((rf"{neck}.{theirs}_convs.{level}.conv", name))
            rules.append((rf"{neck}.{theirs}_convs.{level}.(?:bn|gn)", f"{name}.norm"))
    mean = "backbone.balance.refine"
    return [
        *rules,
        (r"neck.1.refine.(theta|phi|g).conv", rf"{mean}.\1"),
        (r"neck.1.refine.conv_out.conv", f"{mean}.out"),
        (r"neck.1.refine.conv", mean),
    ]


def _head_rules() -> list[tuple[str, str]]:
    """The heads; those of a cascade have the number of their stage after their name."""
    box, predictor = r"roi_heads.box_head\1", r"roi_heads.box_predictor\1"
    theirs, theirs_mask = r"roi_head.bbox_head(\.\d+)?", r"roi_head.mask_head(\.\d+)?"
    ours_mask = r"roi_heads.mask_head\1"
    rules = [
        (r"rpn_head.rpn_conv", "proposal_generator.rpn_head.conv"),
        (r"rpn_head.rpn_cls", "proposal_generator.rpn_head.objectness_logits"),
        (r"rpn_head.rpn_reg", "proposal_generator.rpn_head.anchor_deltas"),
        (rf"{theirs}.fc_cls", rf"{predictor}.cls_score"),
        (rf"{theirs}.fc_reg", rf"{predictor}.bbox_pred"),
        (rf"{theirs}.loss_cls.cum_samples", rf"{predictor}.class_loss.counts"),
        (rf"{theirs_mask}.upsample", f"{ours_mask}.deconv"),
        (rf"{theirs_mask}.conv_logits", f"{ours_mask}.predictor"),
    ]
    for number in range(8):
        mask = f"{ours_mask}.mask_fcn{number + 1}"
        rules += [
            (rf"{theirs}.shared_fcs.{number}", rf"{box}.fc{number + 1}"),
            (rf"{theirs}.shared_convs.{number}.conv", rf"{box}.conv{number + 1}"),
            (rf"{theirs}.shared_convs.{number}.(?:bn|gn)", rf"{box}.conv{number + 1}.norm"),
            (rf"{theirs_mask}.convs.{number}.conv", mask),
            (rf"{theirs_mask}.convs.{number}.(?:bn|gn)", f"{mask}.norm"),
        ]
    return rules


_RCNN_RULES: Rules = compiled([*resnet_rules(), *pyramid_rules(), *_head_rules(), *LEFT_OUT])


def is_mmdet_rcnn(names: Mapping[str, object]) -> bool:
    """Whether the names are those of an R-CNN with a pyramid in MMDetection."""
    first, *others = _RCNN_MARKS
    return has_pyramid(names, first) and all(mark in names for mark in others)


def has_pyramid(names: Mapping[str, object], mark: str) -> bool:
    """Whether a name is one of a pyramid's, also of one that is the first of a list.

    Args:
        names: of all weights.
        mark: the name without the pyramid's own.
    """
    return f"neck.{mark}" in names or f"neck.0.{mark}" in names


def rename_mmdet_rcnn(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of Faster, Mask or Cascade R-CNN our names.

    What the numbers mean is the same in both: the order of anchors, of the four deltas and of
    classes with background last, and the order in which fully connected layers see a region.

    Args:
        weights: by the names that MMDetection saves.
    """
    found = renamed(weights, _RCNN_RULES)
    # Of the seesaw loss; the last number is of the background, and takes no part in it.
    counts = [name for name in found if name.endswith(".class_loss.counts")]
    return found | {name: found[name][:-1] for name in counts}
