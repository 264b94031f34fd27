"""The published models by the name of their configuration."""

import difflib
from typing import Any, ClassVar

from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import LazyConfig, find_config_file, get_cfg, instantiate
from d2lite.modeling import build_model
from d2lite.projects import add_project_configs, without_unused_project_keys
from d2lite.utils.errors import UnknownModelError

from .published import PREFIX, PUBLISHED

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]


class _ModelZooUrls:
    """The published weights as code that lists them reads it: names and ends of addresses."""

    S3_PREFIX = PREFIX
    CONFIG_PATH_TO_URL_SUFFIX: ClassVar = PUBLISHED

    @staticmethod
    def query(config_path: str) -> str | None:
        """The address of a configuration's weights, None where none were published."""
        try:
            return get_checkpoint_url(config_path)
        except UnknownModelError:
            return None


def get_config_file(config_path: str) -> str:
    """Path of a configuration that d2lite carries.

    Args:
        config_path: name under configs/, for instance
            "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml" or
            "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py"; for a project that carries configs
            "ViTDet/COCO/mask_rcnn_vitdet_b_100ep.py".

    Raises:
        MissingConfigError: if there is none of that name; the text lists near ones.
    """
    return str(find_config_file(config_path))


def get_checkpoint_url(config_path: str) -> str:
    """Address of the weights that were published for a configuration.

    Args:
        config_path: as for `get_config_file`.

    Raises:
        UnknownModelError: if no weights were published for it.
    """
    name = config_path.removesuffix(".yaml").removesuffix(".py")
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, PUBLISHED, n=5, cutoff=0.3) or sorted(PUBLISHED)[:5]
        raise UnknownModelError(
            f"No weights were published for {config_path!r}, but for {len(PUBLISHED)} others, "
            f"such as {', '.join(near)}."
        )
    return f"{PREFIX}{name}/{PUBLISHED[name]}"


def get_config(config_path: str, trained: bool = False) -> Any:
    """The configuration of a published model.

    Args:
        config_path: as for `get_config_file`.
        trained: set MODEL.WEIGHTS, or train.init_checkpoint, to the published weights; else it
            stays what the file says, as a rule an ImageNet start.

    Returns:
        A CfgNode; of a Python file what `LazyConfig.load` returns.
    """
    if config_path.endswith(".py"):
        python_cfg = LazyConfig.load(get_config_file(config_path))
        if trained:
            python_cfg.train.init_checkpoint = get_checkpoint_url(config_path)
        return python_cfg
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.merge_from_file(get_config_file(config_path))
    # Keys of projects that the model does not use would stop its dump in a plain get_cfg().
    cfg = without_unused_project_keys(cfg, get_cfg())
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """Build a published model, in evaluation mode if it is trained.

    Args:
        config_path: as for `get_config_file`.
        trained: load the published weights, which are fetched once; else weights are random.
        device: for instance "cpu"; None for what the configuration and the machine give.
    """
    cfg = get_config(config_path, trained)
    model: nn.Module
    if config_path.endswith(".py"):
        model = instantiate(cfg.model)
        if device is not None:
            model.to(device)
    else:
        if device is not None:
            cfg.MODEL.DEVICE = device
        model = build_model(cfg)
    if trained:
        DetectionCheckpointer(model).load(get_checkpoint_url(config_path))
        model.eval()
    return model
