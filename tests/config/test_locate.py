"""Config files by path and by part of their name."""

import pytest

from d2lite.config import find_config_file, locate
from d2lite.utils.errors import ConfigError, MissingFileError

FILES = (
    "configs/quick_start.yaml",
    "configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "configs/COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
    "configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "projects/solov2/configs/SOLOv2/R50_3x.yaml",
    "projects/solov2/configs/SOLOv2/Base-SOLOv2.yaml",
    "projects/flat/configs/R18_3x.yaml",
)


def _make(root, files=FILES):
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")


@pytest.fixture(params=["checkout", "installed"])
def package(request, tmp_path, monkeypatch):
    """A package folder with configs beside it, or inside of it."""
    package = tmp_path / "lib" / "d2lite"
    package.mkdir(parents=True)
    if request.param == "checkout":
        (package.parent / "pyproject.toml").write_text("")
    _make(package.parent if request.param == "checkout" else package)
    carried = locate.carried_configs
    monkeypatch.setattr(locate, "carried_configs", lambda pattern: carried(package, pattern))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return package


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("configs/quick_start.yaml", FILES[0]),
        ("./configs/quick_start.yaml", FILES[0]),
        ("quick_start.yaml", FILES[0]),
        ("quick_start", FILES[0]),
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", FILES[3]),
        ("R50_3x.yaml", FILES[5]),
        ("r50_3x", FILES[5]),
        ("SOLOv2/R50_3x", FILES[5]),
        ("projects/solov2/configs/SOLOv2/R50_3x.yaml", FILES[5]),
        ("Flat/R18_3x.yaml", FILES[7]),
        ("flat/R18_3x", FILES[7]),
        ("mask_rcnn", FILES[4]),
        ("retinanet", FILES[3]),
    ],
)
@pytest.mark.usefixtures("package")
def test_name_finds_the_file_that_it_fits_best(name, address):
    assert find_config_file(name).read_text() == f"# {address}\n"


@pytest.mark.usefixtures("package")
def test_ambiguous_name_lists_the_candidates():
    with pytest.raises(ConfigError) as caught:
        find_config_file("faster_rcnn")
    assert "can mean 2 files" in str(caught.value)
    assert FILES[1] in str(caught.value)
    assert FILES[2] in str(caught.value)
    assert FILES[3] not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mask_rcnn_R_50_FPN_1x.yaml", "COCO-InstanceSegmentation"),
        ("mask_rcnn_R_50_FPN_1x", "COCO-InstanceSegmentation"),
        ("keypoint_rcnn_R_50_FPN_1x.yaml", "COCO-Keypoints"),
        ("LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", "LVISv1-InstanceSegmentation"),
    ],
)
def test_of_several_published_files_of_one_name_that_of_coco_is_meant(name, folder, caplog):
    with caplog.at_level("INFO"):
        assert find_config_file(name).parent.name == folder
    assert ("others of that name" in caplog.text) == ("/" not in name)


def test_files_of_one_name_in_two_other_folders_are_both_listed():
    with pytest.raises(ConfigError, match=r"(?s)2 files.*LVISv0\.5-.*LVISv1-"):
        find_config_file("mask_rcnn_R_101_FPN_1x.yaml")


@pytest.mark.usefixtures("package")
def test_unknown_name_lists_the_nearest():
    with pytest.raises(MissingFileError) as caught:
        find_config_file("quick_strat.yaml")
    assert "quick_strat.yaml" in str(caught.value)
    assert FILES[0] in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "no/such/thing/at/all.yaml"])
@pytest.mark.usefixtures("package")
def test_nonsense_is_refused(name):
    with pytest.raises(MissingFileError, match="Known configs"):
        find_config_file(name)


@pytest.mark.usefixtures("package")
def test_path_that_exists_comes_before_a_name(tmp_path, monkeypatch):
    (tmp_path / "empty" / "quick_start.yaml").write_text("# mine\n")
    assert find_config_file("quick_start.yaml").read_text() == "# mine\n"
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    assert find_config_file("~/quick_start.yaml").read_text() == "# mine\n"


def test_nothing_carried_is_said(monkeypatch):
    monkeypatch.setattr(locate, "carried_configs", lambda pattern: {})
    with pytest.raises(MissingFileError, match="Known configs: none"):
        find_config_file("x.yaml")


@pytest.mark.usefixtures("package")
def test_long_lists_are_cut(monkeypatch):
    many = {f"configs/a{n}.yaml": None for n in range(40)}
    monkeypatch.setattr(locate, "carried_configs", lambda pattern: many)
    with pytest.raises(ConfigError, match="and 28 more"):
        find_config_file("a")
