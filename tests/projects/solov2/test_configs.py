"""The configurations: found by name, true to the published ones, and all of them build."""

import gzip
import json

import pytest
import torch
import yaml

from d2lite.config import find_config_file, get_cfg
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.solov2 import add_solov2_config
from d2lite.solver import build_optimizer
from d2lite.utils.errors import ConfigError

from ...shared_data import shared_folder
from .small import small_cfg, small_model

FOLDER = find_config_file("SOLOv2/R50_3x.yaml").parent
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml") if not path.name.startswith("Base"))

# Where our file differs from the published one on purpose.
OURS = {
    "MODEL.SOLOV2.PASTE_AS_PUBLISHED": False,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 35.0,
}


def reference(name: str):
    """A file of published facts, or a skipped test."""
    path = shared_folder() / "reference" / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {path.parent}")
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("name", ["R50_3x.yaml", "R50_3x", "SOLOv2/R50_3x.yaml", "solov2/R50_3x"])
def test_config_is_found_by_its_name(name):
    """From any folder, as `--config-file R50_3x.yaml`."""
    assert find_config_file(name) == FOLDER / "R50_3x.yaml"
    assert setup_cfg(name).MODEL.META_ARCHITECTURE == "SOLOv2"


@pytest.mark.parametrize("name", NAMES)
def test_every_config_clips_gradients_and_builds(name):
    """Without clipping, the loss is known to get stuck."""
    cfg = setup_cfg(name, ["MODEL.DEVICE", "meta"])
    assert cfg.SOLVER.CLIP_GRADIENTS.ENABLED
    assert (cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE) == (
        "full_model",
        35.0,
    )
    with torch.device("meta"):
        model = build_model(cfg)
    assert len(model.ins_head.num_grids) == len(cfg.MODEL.SOLOV2.INSTANCE_IN_FEATURES)


def test_clipping_bounds_the_step():
    """One factor for all gradients, so that their common norm is at most 35."""
    clip = setup_cfg("R50_3x.yaml").SOLVER.CLIP_GRADIENTS
    cfg = small_cfg("SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.BASE_LR", 1.0)
    cfg.SOLVER.CLIP_GRADIENTS = clip
    model = small_model()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    optimizer = build_optimizer(cfg, model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    optimizer.step()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(35, rel=1e-3)


@pytest.mark.parametrize("name", ["Base-SOLOv2", "R50_3x", "R101_3x"])
def test_published_file_loads_unchanged_and_means_what_ours_means(name, tmp_path):
    """AdelaiDet's own YAML, with its values, beside ours."""
    values = reference("zoo.json")[f"SOLOv2/{name}.yaml"]
    nested: dict = {}
    for key, value in values.items():
        *path, leaf = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    theirs = tmp_path / f"{name}.yaml"
    theirs.write_text(yaml.safe_dump({**nested, "VERSION": 2}))
    published = setup_cfg(str(theirs))
    published.merge_from_list([word for item in OURS.items() for word in item])
    assert published == setup_cfg(f"SOLOv2/{name}.yaml")


def test_options_in_the_notation_of_the_published_files_load(tmp_path):
    """They write tuples as text, and set keys of AdelaiDet's loader to their defaults."""
    (tmp_path / "mine.yaml").write_text(
        '_BASE_: "Base.yaml"\n'
        "INPUT:\n  HFLIP_TRAIN: True\n  IS_ROTATE: False\n"
        "  CROP: {CROP_INSTANCE: True}\n"
        "MODEL:\n  MOBILENET: False\n  BACKBONE: {ANTI_ALIAS: False}\n"
        "  RESNETS: {DEFORM_INTERVAL: 1}\n"
        "  SOLOV2:\n    FPN_SCALE_RANGES: ((1, 56), (28, 112), (56, 224), (112, 448), (224, 896))\n"
        "VERSION: 2\n"
    )
    (tmp_path / "Base.yaml").write_text('MODEL:\n  META_ARCHITECTURE: "SOLOv2"\n')
    cfg = setup_cfg(str(tmp_path / "mine.yaml"))
    assert [tuple(pair) for pair in cfg.MODEL.SOLOV2.FPN_SCALE_RANGES][4] == (224, 896)


@pytest.mark.parametrize("name", ["R50_3x", "R101_3x"])
def test_parameters_bear_adelaidets_names_and_shapes(name):
    """So that its .pth files fit as they are."""
    facts = reference("state_dicts.json.gz")
    config = f"SOLOv2/{name}.yaml"
    if config not in facts["configs"]:
        pytest.skip(f"{config} is not among the recorded ones")
    architecture = facts["architectures"][facts["configs"][config]]
    with torch.device("meta"):
        model = build_model(setup_cfg(config, ["MODEL.DEVICE", "meta"]))
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == {key: shape for key, shape, _ in architecture["state_dict"]}


@pytest.mark.parametrize(
    ("opts", "mend"),
    [
        (["MODEL.MOBILENET", True], "timm:NAME"),
        (["MODEL.BACKBONE.ANTI_ALIAS", True], "Leave it False"),
        (["MODEL.RESNETS.DEFORM_INTERVAL", 3], "Leave it 1"),
        (["INPUT.HFLIP_TRAIN", False], "INPUT.RANDOM_FLIP none"),
        (["INPUT.IS_ROTATE", True], "Leave it False"),
        (["INPUT.CROP.ENABLED", True], "INPUT.CROP.CROP_INSTANCE False"),
    ],
)
def test_options_of_adelaidet_that_do_nothing_here_are_refused(opts, mend):
    """Rather than a training that differs from what its file says."""
    with pytest.raises(ConfigError, match=mend):
        small_model(*opts)


def test_defaults_match_the_published_ones():
    """Every key under MODEL.SOLOV2."""
    path = shared_folder() / "reference" / "config_defaults.yaml"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {path.parent}")
    cfg = get_cfg()
    add_solov2_config(cfg)
    theirs = yaml.safe_load(path.read_text())["MODEL"]["SOLOV2"]
    ours = json.loads(json.dumps(cfg.MODEL.SOLOV2))
    assert {key: ours[key] for key in theirs} == theirs
