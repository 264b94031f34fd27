"""The recipes: each builds with the keys of this project alone, and names what it needs."""

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.modeling import build_model
from d2lite.projects.eomt import add_eomt_config

pytest.importorskip("timm")

# Width of the backbone, classes.
RECIPES = {
    **{f"coco_{task}_eomt_{size}.yaml": (width, 80 if task == "instance" else 133)
       for task in ("instance", "panoptic")
       for size, width in (("small", 384), ("base", 768), ("large", 1024))},
    "ade20k_semantic_eomt_large.yaml": (1024, 150),
    "eomt_shapes.yaml": (128, 54),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_builds_the_model_that_its_name_says(name):
    cfg = get_cfg()
    add_eomt_config(cfg)
    cfg.merge_from_file(find_config_file(name))
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.WEIGHTS = ""
    with torch.device("meta"):
        model = build_model(cfg)
    width, num_classes = RECIPES[name]
    assert model.q.embedding_dim == width
    assert model.class_head.out_features == num_classes + 1
    kinds = (model.instance_on, model.panoptic_on, model.semantic_on)
    assert kinds == (
        "semantic" not in name,
        "panoptic" in name,
        "semantic" in name,
    )
