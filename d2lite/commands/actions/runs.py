"""options_of_run: the config and the weights of a training that is named by a path."""

from pathlib import Path

from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config.python_run import is_python_config_file
from d2lite.utils.errors import MissingFileError


def options_of_run(run: str, config_file: str = "") -> tuple[str, list[str]]:
    """Find what a run folder or a checkpoint means.

    Args:
        run: the OUTPUT_DIR of a training, or a checkpoint in it.
        config_file: a config that was given beside it; "" for the run's own.

    Returns:
        The config file, and options with the weights and the folder of the results.

    Raises:
        MissingFileError: if one of them is not there.
    """
    path = Path(run)
    if not path.exists():
        raise MissingFileError(
            f"{run}: there is no such run folder or checkpoint. Give the OUTPUT_DIR of a training, "
            "one of its .pth files, or --config-file FILE."
        )
    folder = path if path.is_dir() else path.parent
    config = config_file or str(folder / "config.yaml")
    if not config_file and not Path(config).is_file():
        raise MissingFileError(f"There is no {config}. Name a config with --config-file FILE.")
    weights = str(path)
    if path.is_dir():
        weights = DetectionCheckpointer(nn.Module(), str(path)).get_checkpoint_file()
        if not weights:
            raise MissingFileError(f"{run} has no checkpoint: no last_checkpoint and no .pth file.")
    if is_python_config_file(config):
        return config, [f"train.init_checkpoint={weights}", f"train.output_dir={folder}"]
    return config, ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(folder)]
