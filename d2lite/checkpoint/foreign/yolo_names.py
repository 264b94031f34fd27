"""Names of weights of YOLOX and YOLOv3 in MMDetection, and of YOLOX in its authors' repository."""

from .mmdet_names import LEFT_OUT
from .renaming import by_marks

MMDET_YOLOX = by_marks(
    ("backbone.stage4.1.conv1.conv.weight", "bbox_head.multi_level_conv_obj.0.weight"),
    [
        (r"backbone", "backbone.bottom_up"),
        (r"neck", "backbone"),
        (r"bbox_head.multi_level_(cls|reg)_convs", r"head.\1_convs"),
        (r"bbox_head.multi_level_conv_(cls|reg|obj)", r"head.\1_preds"),
        *LEFT_OUT,
    ],
)
"""YOLOX in MMDetection."""

MMDET_YOLOV3 = by_marks(
    ("backbone.conv_res_block1.conv.conv.weight", "bbox_head.convs_pred.0.weight"),
    [
        (r"backbone", "backbone.bottom_up"),
        (r"neck", "backbone"),
        (r"bbox_head", "head"),
        *LEFT_OUT,
    ],
)
"""YOLOv3 over Darknet-53 in MMDetection."""

# A layer of two branches there, and here.
_LAYERS = {
    **{f"backbone.backbone.dark{i}.1": f"backbone.bottom_up.stage{i - 1}.1" for i in (2, 3, 4)},
    "backbone.backbone.dark5.2": "backbone.bottom_up.stage4.2",
    "backbone.C3_p4": "backbone.top_down_blocks.0",
    "backbone.C3_p3": "backbone.top_down_blocks.1",
    "backbone.C3_n3": "backbone.bottom_up_blocks.0",
    "backbone.C3_n4": "backbone.bottom_up_blocks.1",
}
_OTHERS = {
    "backbone.backbone.stem": "backbone.bottom_up.stem",
    **{f"backbone.backbone.dark{i}": f"backbone.bottom_up.stage{i - 1}" for i in (2, 3, 4, 5)},
    "backbone.lateral_conv0": "backbone.reduce_layers.0",
    "backbone.reduce_conv1": "backbone.reduce_layers.1",
    "backbone.bu_conv2": "backbone.downsamples.0",
    "backbone.bu_conv1": "backbone.downsamples.1",
    "head.stems": "backbone.out_convs",
}


def _original_rules() -> list[tuple[str, str]]:
    parts = {}
    for theirs, ours in _LAYERS.items():
        for number, branch in enumerate(("main", "short", "final"), start=1):
            parts[f"{theirs}.conv{number}"] = f"{ours}.{branch}_conv"
        parts[f"{theirs}.m"] = f"{ours}.blocks"
    rules = []
    for theirs, ours in {**parts, **_OTHERS, "head": "head"}.items():
        # Separable convolutions, which are in some of these parts, have names of their own.
        for short, name in (("dconv", "depthwise_conv"), ("pconv", "pointwise_conv")):
            rules.append((rf"{theirs}((?:\.\w+)*?)\.{short}", rf"{ours}\1.{name}"))
        rules.append((theirs, ours))
    return rules


ORIGINAL_YOLOX = by_marks(
    ("backbone.backbone.dark5.1.conv1.conv.weight", "head.obj_preds.0.weight"), _original_rules()
)
"""YOLOX in its authors' repository."""
