"""The report about the machine and the library versions that opens every log."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import torch

from d2lite import __version__

from .cores import usable_cores

__all__ = ["collect_env_info"]

_LIBRARIES = (
    "torchvision",
    "numpy",
    "Pillow",
    "opencv-python",
    "fvcore",
    "iopath",
    "yacs",
    "pycocotools",
    "hotcoco",
)
_VARIABLES = ("D2LITE_DATASETS", "DETECTRON2_DATASETS", "D2LITE_CACHE", "CUDA_VISIBLE_DEVICES")


def collect_env_info() -> str:
    """What a bug report needs: system, devices, versions, the variables we read.

    Returns:
        Lines of "name   value".
    """
    rows = [*_system_rows(), *_device_rows()]
    rows += [(name, _version(name)) for name in _LIBRARIES]
    rows += [(f"${name}", os.environ[name]) for name in _VARIABLES if name in os.environ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _system_rows() -> list[tuple[str, str]]:
    python = f"{platform.python_version()} ({sys.executable})"
    cores = f"{usable_cores()} of {os.cpu_count()} cores"
    package = Path(__file__).resolve().parents[1]
    return [
        ("system", platform.platform()),
        ("processor", f"{cores}, torch uses {torch.get_num_threads()} threads"),
        ("python", python),
        ("d2lite", f"{__version__} ({package})"),
        ("torch", f"{torch.__version__} (debug build: {torch.version.debug})"),
    ]


def _device_rows() -> list[tuple[str, str]]:
    if not torch.cuda.is_available():
        return [
            ("CUDA", "not available"),
            ("Apple MPS", "available" if torch.backends.mps.is_available() else "not available"),
        ]
    cudnn = torch.backends.cudnn.version()
    rows = [("CUDA", f"{torch.version.cuda}, cuDNN {cudnn}")]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB, compute {gpu.major}.{gpu.minor}"
        rows.append((f"GPU {index}", f"{gpu.name}, {memory}"))
    return rows


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.stdout.write(collect_env_info() + "\n")
