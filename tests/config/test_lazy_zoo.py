"""The Python configs that d2lite carries: each loads, describes a whole run and can be saved."""

import pytest

from d2lite import model_zoo
from d2lite.config import LazyConfig, find_config_file, instantiate
from d2lite.config.locate import carried_configs
from d2lite.config.python_yaml import dump_python_config
from d2lite.utils.errors import UnknownNameError

PARTS = {"dataloader", "lr_multiplier", "model", "optimizer", "train"}
RUNS = sorted(
    address
    for address in carried_configs(pattern="*.py")
    if "/common/" not in address and not address.endswith("/recipe.py")
)


def test_all_published_runs_are_carried():
    names = [address.split("/")[1] for address in RUNS]
    assert names.count("new_baselines") == 13
    assert names.count("ViTDet") == 22
    assert names.count("MViTv2") == 7
    assert names.count("Rethinking-BatchNorm") == 4


# One of each kind; the others are slow together.
SOME = (
    "retinanet",
    "regnety_4gf_dds_FPN_50",
    "R_50_FPN_50",
    "LVIS/cascade_mask_rcnn_vitdet_b",
    "_t_",
)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(address, marks=() if any(s in address for s in SOME) else pytest.mark.slow)
        for address in RUNS
    ],
)
def test_a_run_has_all_parts_and_a_schedule_that_ends_with_it_and_can_be_saved(address, tmp_path):
    cfg = model_zoo.get_config(address)
    assert set(cfg) >= PARTS
    scheduler = cfg.lr_multiplier.scheduler
    assert scheduler.get("num_updates", scheduler.milestones[-1]) == cfg.train.max_iter
    assert instantiate(cfg.lr_multiplier)(0.5) == 1.0
    text, unsaved = dump_python_config(cfg)
    # Classes that a file defines for itself have no address.
    assert unsaved == [] or "BNhead_" in address
    (tmp_path / "config.yaml").write_text(text)
    assert LazyConfig.load(str(tmp_path / "config.yaml")).train == cfg.train


def test_projects_are_found_by_their_name_and_python_files_only_by_their_ending():
    found = find_config_file("ViTDet/COCO/mask_rcnn_vitdet_b_100ep.py")
    assert found.parts[-5:-2] == ("projects", "ViTDet", "configs")
    assert find_config_file("COCO-Detection/retinanet_R_50_FPN_1x").suffix == ".yaml"
    assert find_config_file("COCO-Detection/retinanet_R_50_FPN_1x.py").suffix == ".py"


def test_trained_weights_go_where_the_run_reads_them():
    name = "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py"
    cfg = model_zoo.get_config(name, trained=True)
    assert cfg.train.init_checkpoint == model_zoo.get_checkpoint_url(name)
    with pytest.raises(UnknownNameError, match="No weights were published"):
        model_zoo.get_config("MViTv2/mask_rcnn_mvitv2_t_3x.py", trained=True)


def test_a_python_config_is_built_by_name():
    model = model_zoo.get("common/models/retinanet.py", device="cpu")
    assert type(model).__name__ == "RetinaNet"
    assert model.training
