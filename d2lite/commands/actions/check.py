"""What `d2lite check` does: look at the machine as a training would use it."""

import importlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from d2lite.engine.defaults import local_output_dir
from d2lite.utils.collect_env import collect_env_info
from d2lite.utils.file_io import cache_dir

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Level = Literal["ok", "note", "FAULT"]
_GIB = 2**30
# Extras that users have no need of.
_OF_DEVELOPERS = {"all", "dev", "docs", "oracle"}
_REQUIREMENT = re.compile(r"""([\w.-]+).*;.*extra\s*==\s*['"]([\w.-]+)['"]""")


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: "FAULT" if it would stop a training.
        what: its name.
        found: what it is.
        fix: what to do; empty if all is well.
    """

    level: Level
    what: str
    found: str
    fix: str = ""


def check_machine(output_dir: str) -> int:
    """Print environment, extras and limits.

    Args:
        output_dir: a folder that trainings write into; it need not be there yet.

    Returns:
        1 if something would stop a training, else 0.
    """
    print(collect_env_info())
    findings = [*libraries(), *devices(), *limits(), *folders(output_dir), *extras()]
    width = max(len(one.what) for one in findings)
    print()
    for one in findings:
        fix = f"\n{'':<{width + 9}}fix: {one.fix}" if one.fix else ""
        print(f"{one.level:<5}  {one.what:<{width}}  {one.found}{fix}")
    faults = sum(one.level == "FAULT" for one in findings)
    print(f"\n{faults} faults." if faults else "\nNothing here would stop a training.")
    return int(faults > 0)


def libraries() -> Iterator[Finding]:
    """Whether the compiled libraries work, and work with each other."""
    trials: dict[str, tuple[Callable[[], object], str]] = {
        "torchvision": (
            _suppress_boxes,
            "install the torchvision that belongs to this torch: "
            "pip install --force-reinstall torch torchvision",
        ),
        "OpenCV": (
            _import_opencv,
            "pip uninstall opencv-python && pip install opencv-python-headless",
        ),
    }
    for name, (trial, fix) in trials.items():
        try:
            trial()
        except Exception as error:
            # Whatever a broken installation raises is what the person has to see.
            yield Finding("FAULT", name, f"does not work: {type(error).__name__}: {error}", fix)
        else:
            yield Finding("ok", name, "works")


def _suppress_boxes() -> object:
    nms = importlib.import_module("torchvision.ops").nms
    return nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)


def _import_opencv() -> object:
    return importlib.import_module("cv2").__version__


def devices() -> Iterator[Finding]:
    """Whether a step can be computed on each device that a training would take."""
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    for name in names:
        try:
            weight = torch.ones(4, 3, 3, 3, device=name, requires_grad=True)
            torch.conv2d(torch.ones(1, 3, 8, 8, device=name), weight).sum().backward()
        except RuntimeError as error:
            text = str(error).splitlines()[0]
            yield Finding(
                "FAULT", f"device {name}", text, "train with MODEL.DEVICE cpu, or update the driver"
            )
        else:
            yield Finding("ok", f"device {name}", "computes gradients")
    if len(names) == 1 and Path("/dev/nvidia0").exists():
        built = torch.version.cuda or "none"
        yield Finding(
            "FAULT",
            "GPU",
            f"there is one, which this torch cannot use (built for CUDA {built})",
            "install a torch for the driver that nvidia-smi shows, see pytorch.org; "
            "or train with MODEL.DEVICE cpu",
        )


def limits() -> Iterator[Finding]:
    """Shared memory, file handles and memory."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        yield shared_memory(shutil.disk_usage(shared).free)
    if resource is not None:
        yield file_handles(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        yield memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def shared_memory(free: int) -> Finding:
    """Judge the bytes through which loader processes hand over their batches."""
    found = f"{free / _GIB:.2f} GiB of /dev/shm are free, for the batches of loader processes"
    fix = "docker run --shm-size=8g (or --ipc=host), or train with DATALOADER.NUM_WORKERS 0"
    level: Level = "FAULT" if free < _GIB / 8 else "note" if free < _GIB else "ok"
    return Finding(level, "shared memory", found, "" if level == "ok" else fix)


def file_handles(count: int) -> Finding:
    """Judge how many files a process may hold open, -1 for any; loaders send batches by them."""
    found = f"{'any number of' if count < 0 else count} open files a process"
    if count < 0 or count >= 1024:
        return Finding("ok", "file handles", found)
    return Finding("FAULT" if count < 256 else "note", "file handles", found, "ulimit -n 65536")


def memory(total: int) -> Finding:
    """Judge the memory of the machine."""
    found = f"{total / _GIB:.1f} GiB"
    if total >= 4 * _GIB:
        return Finding("ok", "memory", found)
    fix = "small images and batches: INPUT.MAX_SIZE_TRAIN, SOLVER.IMS_PER_BATCH 1"
    return Finding("note", "memory", found, fix)


def folders(output_dir: str) -> Iterator[Finding]:
    """Whether the folders can be written and have room for checkpoints and downloads."""
    for what, folder, fix in (
        ("output folder", local_output_dir(output_dir), "choose another OUTPUT_DIR"),
        ("cache", cache_dir(), "set D2LITE_CACHE to a folder that can be written"),
        ("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to another folder"),
    ):
        yield folder_finding(what, folder.expanduser(), fix)


def folder_finding(what: str, folder: Path, fix: str) -> Finding:
    """Judge one folder; nothing is left in it.

    Args:
        what: its name in the report.
        folder: it need not be there yet.
        fix: what to do if it cannot be used.
    """
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        return Finding("FAULT", what, f"{folder} cannot be written: {error.strerror}", fix)
    found = f"{folder.absolute()}, {free / _GIB:.1f} GiB free"
    if free >= 5 * _GIB:
        return Finding("ok", what, found)
    # A checkpoint of Mask R-CNN with R-50 and its optimizer is 0.35 GB.
    return Finding("FAULT" if free < _GIB else "note", what, found, f"free some space, or {fix}")


def extras() -> Iterator[Finding]:
    """The optional packages, by the extras of setup.py."""
    try:
        lines = importlib.metadata.requires("d2lite") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("note", "extras", "not known, since d2lite is not installed by pip")
        return
    packages: dict[str, list[str]] = {}
    for name, extra in (match.groups() for match in map(_REQUIREMENT.match, lines) if match):
        packages.setdefault(extra, []).append(name)
    there, missing = [], []
    for extra in sorted(packages.keys() - _OF_DEVELOPERS):
        absent = [name for name in packages[extra] if not _is_installed(name)]
        if len(absent) == len(packages[extra]):
            missing.append(extra)
        elif absent:
            missing.append(f"{extra} (without {', '.join(absent)})")
        else:
            there.append(extra)
    if there:
        yield Finding("ok", "extras", f"installed: {', '.join(there)}")
    if missing:
        fix = 'only for what you use: pip install "d2lite[NAME]" (docs/how_to.md)'
        yield Finding("note", "extras", f"not installed: {', '.join(missing)}", fix)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
