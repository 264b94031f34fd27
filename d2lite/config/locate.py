"""Finding a config file: by path, or by a part of its name among the configs that we carry."""

import difflib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from d2lite.utils.errors import ConfigError, MissingConfigError
from d2lite.utils.file_io import PathManager

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
_SHOWN = 12


def carried_configs(package: Path = _PACKAGE, pattern: str = "*.y*ml") -> dict[str, Path]:
    """The configs of the checkout, or those that a wheel installed.

    Args:
        package: folder of the d2lite package.
        pattern: of the file names.

    Returns:
        Address as in the checkout ("configs/...", "projects/NAME/configs/...") to file, sorted.
    """
    root = package.parent if _is_checkout(package) else package
    found = dict(_files(root, pattern))
    return dict(sorted(found.items()))


def _is_checkout(package: Path) -> bool:
    root = package.parent
    return (root / "pyproject.toml").is_file() and (root / "configs").is_dir()


def _files(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    folders = [root / "configs", *sorted((root / "projects").glob("*/configs"))]
    for folder in folders:
        for path in folder.rglob(pattern):
            yield path.relative_to(root).as_posix(), path


def find_config_file(name: str) -> Path:
    """The config file that `name` means.

    A path that exists is taken as it is. Otherwise the carried configs are searched: for the end
    of an address ("COCO-Detection/retinanet_R_50_FPN_1x.yaml"), then a file name with or without
    its ending, then a project's name as the folder, written in any way ("SOLOv2/R50_3x.yaml" for
    "projects/solov2/configs/R50_3x.yaml", and "projects/PointRend/configs/..."), then a part of an
    address. The first of these rules that fits any file decides. Where it fits files of one name
    in several folders, the one in a folder COCO-... is meant, if there is one of these alone.
    Python files are searched for a name that ends in .py, and no others.

    Args:
        name: path, address (http, detectron2://) or (partial) name.

    Raises:
        MissingConfigError: if nothing fits; the text lists near names.
        ConfigError: if several do; the text lists them.
    """
    if "://" in name:
        return Path(PathManager.get_local_path(name))
    path = Path(os.path.expanduser(name))
    if path.is_file():
        return path
    carried = carried_configs(pattern="*.py" if name.endswith(".py") else "*.y*ml")
    fitting = _fitting(name, list(carried))
    if len(fitting) > 1 and len({address.rpartition("/")[2] for address in fitting}) == 1:
        of_coco = [address for address in fitting if "/COCO-" in address]
        if len(of_coco) == 1:
            others = ", ".join(address for address in fitting if address not in of_coco)
            logger.info(f"The config {name!r} is {of_coco[0]}; others of that name: {others}")
            fitting = of_coco
    if len(fitting) == 1:
        return carried[fitting[0]]
    if fitting:
        raise ConfigError(
            f"Config {name!r} can mean {len(fitting)} files; give more of the name:"
            f"{_listing(fitting)}"
        )
    what = (
        "is a folder" if path.is_dir() else "does not exist, and d2lite has no config of that name"
    )
    raise MissingConfigError(
        f"Config file {name!r} {what} (working folder {Path.cwd()}). Known configs:"
        f"{_known(name, carried)}"
    )


def config_of_detectron2(path: str) -> Path | None:
    """The carried config for a path into a folder of detectron2's, None for any other path.

    Scripts name files of a checkout (`detectron2_repo/configs/...`) or of the installed package
    (`.../model_zoo/configs/...`), which need not be there.
    """
    into = r"(?:^|/)(?:detectron2[^/]*|model_zoo)/((?:projects/[^/]+/)?configs/.+)"
    found = re.search(into, Path(path).as_posix())
    if found is None:
        return None
    wanted = _published(found[1].lower())
    named = (file for key, file in carried_configs().items() if _published(key.lower()) == wanted)
    return next(named, None)


def _fitting(name: str, addresses: list[str]) -> list[str]:
    """Addresses that the name fits best: the first rule that fits any decides."""
    wanted = Path(name).as_posix().removeprefix("./").lower()
    if wanted in ("", "."):
        return []
    rules = (
        lambda address: address == wanted or address.endswith(f"/{wanted}"),
        lambda address: address.rpartition(".")[0].endswith(f"/{wanted}"),
        lambda address: _published(address) == _published(wanted),
        lambda address: wanted.removesuffix(".yaml") in address,
    )
    for rule in rules:
        fitting = [address for address in addresses if rule(address.lower())]
        if fitting:
            return fitting
    return []


def _published(address: str) -> str:
    """A project's config as others write it: PointRend/x.yaml for projects/point_rend/configs/x."""
    inner = re.sub(r"^projects/([^/]+)/configs/", r"\1/", re.sub(r"\.ya?ml$", "", address))
    project, slash, rest = inner.removeprefix("projects/").partition("/")
    return re.sub(r"[-_]", "", project) + slash + rest


def _known(name: str, carried: dict[str, Path]) -> str:
    near = _nearest(name, list(carried))
    if near or not carried:
        return _listing(near)
    address, path = next(iter(carried.items()))
    root = path.parents[len(Path(address).parts) - 1]
    return f" {len(carried)} under configs/ and projects/ of {root}, none with a similar name"


def _nearest(name: str, addresses: list[str]) -> list[str]:
    ends = {address.rpartition("/")[2]: address for address in addresses}
    near = difflib.get_close_matches(name.rpartition("/")[2], list(ends), n=5, cutoff=0.4)
    return [ends[end] for end in near]


def _listing(addresses: list[str]) -> str:
    shown = "".join(f"\n  {address}" for address in addresses[:_SHOWN]) or " none"
    more = len(addresses) - _SHOWN
    return shown + (f"\n  ... and {more} more" if more > 0 else "")
