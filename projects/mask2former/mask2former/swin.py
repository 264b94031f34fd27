"""D2SwinTransformer: the Swin of `MODEL.SWIN`, with maps named as a ResNet's."""

from typing import Any

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.modeling import BACKBONE_REGISTRY, SwinTransformer
from d2lite.modeling.backbone.backbone import check_maps

from .config import follow_own_defaults


@BACKBONE_REGISTRY.register()
class D2SwinTransformer(SwinTransformer):
    """A Swin whose maps "res2", "res3", ... have strides 4, 8, ...

    Args:
        **kwargs: see `SwinTransformer`.
    """

    @configurable
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rename_maps([f"res{stage + 2}" for stage in self.out_indices])

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.SWIN`; `MODEL.BACKBONE.FREEZE_AT` as in `build_swin_backbone`."""
        follow_own_defaults(cfg, "MODEL.SWIN.DROP_PATH_RATE", "MODEL.SWIN.OUT_FEATURES")
        node, freeze_at = cfg.MODEL.SWIN, cfg.MODEL.BACKBONE.FREEZE_AT
        names = [f"res{stage + 2}" for stage in range(len(node.DEPTHS))]
        check_maps("this Swin", node.OUT_FEATURES, names, "MODEL.SWIN.OUT_FEATURES")
        return {
            "pretrain_img_size": node.PRETRAIN_IMG_SIZE,
            "patch_size": node.PATCH_SIZE,
            "in_chans": input_shape.channels,
            "embed_dim": node.EMBED_DIM,
            "depths": node.DEPTHS,
            "num_heads": node.NUM_HEADS,
            "window_size": node.WINDOW_SIZE,
            "mlp_ratio": node.MLP_RATIO,
            "qkv_bias": node.QKV_BIAS,
            "qk_scale": node.QK_SCALE,
            "drop_rate": node.DROP_RATE,
            "attn_drop_rate": node.ATTN_DROP_RATE,
            "drop_path_rate": node.DROP_PATH_RATE,
            "ape": node.APE,
            "patch_norm": node.PATCH_NORM,
            "out_indices": [names.index(name) for name in node.OUT_FEATURES],
            "frozen_stages": freeze_at if freeze_at > 0 else -1,
            "use_checkpoint": node.USE_CHECKPOINT,
        }
