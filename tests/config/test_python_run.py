"""PythonRunConfig: the keys that a run reads, out of a Python config."""

import copy
import pickle

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from d2lite.config import CfgNode, PythonRunConfig, as_run_config, get_cfg
from d2lite.config import LazyCall as L
from d2lite.config.python_run import is_python_config_file, load_run_config
from d2lite.modeling import build_model
from d2lite.solver import build_lr_scheduler, build_optimizer
from d2lite.solver.build import get_default_optimizer_params
from d2lite.utils.errors import ConfigError


@pytest.fixture
def parts():
    return OmegaConf.create(
        {
            "model": L(nn.Linear)(in_features=2, out_features=3),
            "optimizer": L(torch.optim.SGD)(params=L(get_default_optimizer_params)(), lr=0.5),
            "train": {"max_iter": 8, "device": "cpu", "checkpointer": {"max_to_keep": None}},
            "dataloader": {"test": {"dataset": {"names": "a"}}},
        },
        flags={"allow_objects": True},
    )


def test_values_become_keys_that_say_where_they_were(parts):
    cfg = as_run_config(parts)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.DATASETS.TEST) == (8, 0.5, ("a",))
    assert cfg.origin("SOLVER.MAX_ITER") == "Python config, train.max_iter"
    assert cfg.is_default("SOLVER.CHECKPOINT_MAX_TO_KEEP"), "None leaves a key alone"


def test_parts_make_the_objects(parts):
    cfg = as_run_config(parts)
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    assert isinstance(model, nn.Linear)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert "model" not in parts.optimizer.params, "the config itself is not changed"
    with pytest.raises(ConfigError, match="has no lr_multiplier, which the run needs"):
        build_lr_scheduler(cfg, optimizer)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, CfgNode.clone, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_keep_keys_and_parts(parts, copied):
    cfg = as_run_config(parts)
    twin = copied(cfg)
    assert isinstance(twin, PythonRunConfig)
    assert twin == cfg
    assert twin.parts == cfg.parts
    twin.parts.train.max_iter = 1
    assert cfg.parts.train.max_iter == 8


def test_the_device_of_published_files_falls_back_to_what_the_machine_has(parts):
    parts.train.device = "cuda"
    assert as_run_config(parts).is_default("MODEL.DEVICE")


def test_options_of_any_form_set_keys_by_name(parts):
    parts.train.options = {"SOLVER": {"AMP.PRECISION": "bfloat16"}, "INPUT.MIN_SIZE_TRAIN": [3, 4]}
    cfg = as_run_config(parts)
    assert (cfg.SOLVER.AMP.PRECISION, cfg.INPUT.MIN_SIZE_TRAIN) == ("bfloat16", (3, 4))


def test_what_is_dumped_loads_again_with_the_seed_of_the_run(parts, tmp_path):
    cfg = as_run_config(parts)
    cfg.SEED = 7
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert is_python_config_file(tmp_path / "config.yaml")
    loaded = load_run_config(tmp_path / "config.yaml", ["train.max_iter=9"])
    assert (loaded.SEED, loaded.SOLVER.MAX_ITER) == (7, 9)
    assert isinstance(build_model(loaded), nn.Linear)


def test_the_other_kind_of_config_passes_as_it_is_or_out_of_omegaconf(tmp_path):
    cfg = get_cfg()
    assert as_run_config(cfg) is cfg
    assert as_run_config(OmegaConf.create(cfg.dump())) == cfg
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert not is_python_config_file(tmp_path / "config.yaml")


def test_file_that_is_not_text_is_not_a_python_config(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\x81\0")
    assert not is_python_config_file(tmp_path / "a.yaml")


def test_python_config_that_is_not_python_is_named_with_the_line(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\ny = (\n")
    with pytest.raises(ConfigError, match=r"a\.py, line 2 is not Python: .*never closed"):
        load_run_config(tmp_path / "a.py", [])


@pytest.mark.parametrize(
    "text", ["_base_ = './mask_rcnn.py'\n", "model = dict()\ntrain_pipeline = []\n"]
)
def test_config_of_mmdetection_is_answered_with_the_command_that_converts_it(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=r"d2lite migrate --from mmdet \S*mine\.py > mine\.yaml"):
        load_run_config(tmp_path / "mine.py", [])
