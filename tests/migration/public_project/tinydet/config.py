from detectron2.config import CfgNode as CN


def add_tinydet_config(cfg):
    """Add the project's keys."""
    cfg.TINYDET = CN()
    cfg.TINYDET.WIDTH = 16
    cfg.TINYDET.DATA = ""
