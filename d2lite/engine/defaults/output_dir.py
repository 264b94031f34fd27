"""What every run has in OUTPUT_DIR: the folder itself, config.yaml and the files of the writers."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from d2lite.checkpoint.folder import LAST_CHECKPOINT
from d2lite.config import CfgNode, LazyConfig, PythonRunConfig, get_cfg
from d2lite.projects import without_unused_project_keys
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, OutputError
from d2lite.utils.events import (
    CommonMetricPrinter,
    CSVWriter,
    EventWriter,
    JSONWriter,
    LiveWriter,
    TensorboardXWriter,
)
from d2lite.utils.file_io import write_file
from d2lite.utils.live_process import RUNS
from d2lite.utils.output_mirror import address_of, is_store_address, mirror_of


def prepare_output_dir(output_dir: str) -> None:
    """Make the output folder and see that files can be written there.

    Args:
        output_dir: the folder; missing parents are made.

    Raises:
        OutputError: if it cannot be made or written, or is an address.
    """
    if "://" in output_dir:
        raise OutputError(
            f"OUTPUT_DIR {output_dir!r} is an address that a run cannot write to. Give a folder of "
            "this machine, or of a store: s3://, gs://."
        )
    try:
        os.makedirs(output_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise OutputError(
            f"OUTPUT_DIR {output_dir!r} cannot be written: {error.strerror or error}. Choose a "
            "folder of yours by OUTPUT_DIR /path/to/folder at the end of the command."
        ) from error
    mark = Path(output_dir) / LAST_CHECKPOINT
    if mark.is_dir():
        # No save could put a file in its place.
        raise OutputError(
            f"{mark} is a folder and not the file in which a run notes its last checkpoint. "
            "Remove it, or choose another OUTPUT_DIR."
        )


def local_output_dir(output_dir: str, *, fetch: bool = False) -> Path:
    """The folder of this machine in which a run writes its files.

    Args:
        output_dir: OUTPUT_DIR, which may be an address of a store.
        fetch: bring what another machine has written to the address here.

    Raises:
        OutputError: if the store cannot be read.
    """
    if not is_store_address(output_dir):
        return Path(output_dir)
    mirror = mirror_of(output_dir)
    if fetch:
        mirror.fetch()
    return mirror.folder


def follow_output_address(cfg: CfgNode, *, resume: bool) -> None:
    """Where OUTPUT_DIR is an address of a store, write to a local folder that is copied there.

    Every process of the run has to call this; the main one copies.

    Args:
        cfg: OUTPUT_DIR is set, also where it is frozen.
        resume: fetch what is needed to go on with the run.

    Raises:
        OutputError: if the store cannot be used.
    """
    address = address_of(cfg.OUTPUT_DIR)
    if not is_store_address(address):
        return
    folder = local_output_dir(address, fetch=resume and comm.get_local_rank() == 0)
    comm.synchronize()
    if comm.is_main_process():
        mirror_of(address).start()
    cfg.derive("OUTPUT_DIR", str(folder), f"the local copy of {address}")


def write_config(cfg: CfgNode) -> None:
    """Write OUTPUT_DIR/config.yaml, from which the same model can be built again.

    A MODEL.DEVICE that nobody set is left out, so that the file works on other machines, and so
    are the keys of projects that the model does not use, so that a plain `get_cfg()` reads it.

    Args:
        cfg: the whole config.
    """
    path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    address = address_of(cfg.OUTPUT_DIR)
    if isinstance(cfg, PythonRunConfig):
        parts = cfg.parts_with_seed()
        if address != cfg.OUTPUT_DIR:
            LazyConfig.apply_overrides(parts, [f"train.output_dir={address}"])
        LazyConfig.save(parts, str(path))
        return
    saved = without_unused_project_keys(cfg, get_cfg())
    if address != cfg.OUTPUT_DIR:
        # Another machine goes on with the run by this file.
        saved.derive("OUTPUT_DIR", address, "the place that the run was given")
    if cfg.is_default("MODEL.DEVICE"):
        saved.remove("MODEL.DEVICE")
    write_file(path, saved.dump())


def default_writers(
    output_dir: str, max_iter: int | None = None, *, further: Sequence[EventWriter] = ()
) -> list[EventWriter]:
    """Make the writers of a run: console, metrics.json and TensorBoard.

    Args:
        output_dir: where the files go.
        max_iter: length of the run, for the time that is left.
        further: other writers.
    """
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        *further,
        # It forgets the images that it has written.
        TensorboardXWriter(output_dir),
    ]


def further_writers(cfg: CfgNode) -> list[EventWriter]:
    """Make the writers that WRITERS names.

    Args:
        cfg: the config.

    Raises:
        ConfigError: if there is no such writer, or its service has no address.
        MissingPackageError: if the package of a service is not installed.
    """
    built: list[EventWriter] = []
    for name in cfg.WRITERS:
        if name == "csv":
            paths = (os.path.join(cfg.OUTPUT_DIR, f) for f in ("results.csv", "metrics.json"))
            built.append(CSVWriter(*paths))
        elif name in RUNS:
            built.append(LiveWriter(name, cfg.OUTPUT_DIR, dict(cfg.keys_and_values())))
        else:
            raise ConfigError(f"WRITERS has {name!r}; there are csv, {', '.join(sorted(RUNS))}.")
    return built
