"""Packaging of d2lite: pure Python, nothing to compile, no torch needed to build.

The configs and the projects lie beside the package in the checkout; a wheel carries them inside
of it, as d2lite/configs and d2lite/projects/NAME, where d2lite looks for them when it is installed.
"""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PROJECTS = "d2lite.projects"

EXTRAS = {
    "dev": [
        "pytest",
        "hypothesis",
        "ruff",
        "mypy",
        "types-PyYAML",
        "pre-commit",
        "tifffile",
        "hotcoco",
        "omegaconf>=2.3",
        "scipy",
    ],
    # Python configs (LazyConfig).
    "lazy": ["omegaconf>=2.3"],
    # Networks of timm as backbones (MODEL.BACKBONE.NAME "timm:...").
    "timm": ["timm"],
    # Its augmentations in INPUT.AUGMENTATIONS, as Albumentations(...).
    "albumentations": ["albumentations"],
    # Datasets of Hugging Face (hf:DIR), and weights by name (hf://ORG/NAME).
    "hf": ["datasets", "huggingface_hub", "safetensors"],
    # Weights as .safetensors.
    "safetensors": ["safetensors"],
    # TIFFs of many channels or of 16 bits a channel (INPUT.FORMAT "RGBN").
    "tiff": ["tifffile"],
    # The pages of docs/ as a site, and its notebook.
    "docs": ["mkdocs-material", "nbclient", "ipykernel"],
    # Other libraries that tests compare with or ask with, or that people's own code draws with.
    "oracle": ["transformers", "matplotlib", "httpx", "moto[server]"],
    # Files at s3:// and gs:// addresses.
    "stores": ["fsspec", "s3fs", "gcsfs"],
    # Training models of queries (Mask2Former).
    "queries": ["scipy"],
    # Objects followed through videos (d2lite predict --track); brings supervision.
    "track": ["trackers"],
    # d2lite serve: a page and an HTTP route.
    "serve": ["fastapi", "uvicorn", "python-multipart"],
    # Weights & Biases and MLflow (WRITERS).
    "live": ["wandb", "mlflow-skinny"],
    # Models as files for other libraries (d2lite export).
    "export": ["onnx", "onnxscript", "onnxruntime", "openvino"],
    # The evaluators of Cityscapes.
    "cityscapes": ["cityscapesscripts"],
    # COCO metrics some 80 times as fast as pycocotools', with the same numbers; LVIS's too.
    "fast": ["hotcoco"],
    "lvis": ["hotcoco"],
}


def version() -> str:
    """The version that d2lite/__init__.py states, read without importing it."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "d2lite/__init__.py").read_text(), re.M)
    if found is None:
        raise SystemExit("d2lite/__init__.py states no __version__")
    return found[1]


def long_description() -> str:
    """The README, where there is one."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


def carried_folders() -> dict[str, str]:
    """Package name to folder, for all that lies outside of d2lite/ but belongs into a wheel."""
    folders = {}
    if (ROOT / "configs").is_dir():
        folders["d2lite.configs"] = "configs"
    for project in sorted((ROOT / "projects").glob("*")):
        package, name = project / project.name, f"{PROJECTS}.{project.name}"
        if (package / "__init__.py").is_file():
            folders[name] = package.relative_to(ROOT).as_posix()
            for inner in find_packages(str(package)):
                folders[f"{name}.{inner}"] = f"{folders[name]}/{inner.replace('.', '/')}"
        if (project / "configs").is_dir():
            folders[f"{name}.configs"] = (project / "configs").relative_to(ROOT).as_posix()
    return folders


def config_files(folder: str) -> list[str]:
    """All configs below a folder, relative to it."""
    root = ROOT / folder
    found = (path for pattern in ("*.y*ml", "*.py") for path in root.rglob(pattern))
    return sorted(path.relative_to(root).as_posix() for path in found)


def all_extras() -> list[str]:
    """Every optional package, without developers' and the large clients of services."""
    used = [
        packages
        for name, packages in EXTRAS.items()
        if name not in ("dev", "docs", "oracle", "live")
    ]
    return sorted({package for packages in used for package in packages})


# An editable installation finds the rest in the checkout by itself. With a plain layout it is one
# line in a .pth file, and "import d2lite" works beside a checkout of that name, too: with mapped
# folders Python would take the checkout, which has no __init__.py, for the package.
EDITABLE = "editable_wheel" in sys.argv
FOLDERS = {} if EDITABLE else carried_folders()

setup(
    name="d2lite",
    version=version(),
    description="Detection and instance segmentation: train, evaluate, predict; detectron2's API",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=[*find_packages(include=["d2lite", "d2lite.*"]), *FOLDERS],
    package_dir={"": "."} if EDITABLE else {"d2lite": "d2lite", **FOLDERS},
    package_data={
        "d2lite": ["py.typed", "reporting/templates/*", "serving/page.html"],
        **{
            name: config_files(folder)
            for name, folder in FOLDERS.items()
            if name.endswith(".configs")
        },
    },
    include_package_data=False,
    zip_safe=False,
    entry_points={"console_scripts": ["d2lite = d2lite.commands:main"]},
    python_requires=">=3.10",
    install_requires=[
        # The oldest versions that are stated here are tested, with the oldest Python: .ci/oldest.
        "torch>=2.8",
        "torchvision>=0.23",
        "numpy>=1.26",
        "pycocotools>=2.0.8",
        "fvcore",
        "iopath",
        "yacs",
        # Mappers without an importable name, such as lambdas, reach started worker processes by it.
        "cloudpickle",
        "opencv-python>=4.10",
        "Pillow>=10.1",
        "tensorboard",
        "tqdm",
        # The report of a run.
        "jinja2",
        "matplotlib>=3.8",
        # Scripts for the completion of words in a shell.
        "shtab",
    ],
    extras_require={**EXTRAS, "all": all_extras()},
    classifiers=[
        "Operating System :: OS Independent",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Typing :: Typed",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
