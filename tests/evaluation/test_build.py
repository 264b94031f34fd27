import pytest

from d2lite.data import MetadataCatalog
from d2lite.evaluation import COCOEvaluator, build_evaluator
from d2lite.utils.errors import ConfigError


def test_type_of_the_dataset_picks_the_evaluator(dataset):
    assert isinstance(build_evaluator(dataset, tasks=("bbox",)), COCOEvaluator)


def test_shapes_need_no_word_from_the_user():
    assert isinstance(build_evaluator("shapes_val"), COCOEvaluator)


def test_unknown_type_names_what_there_is(dataset):
    MetadataCatalog.get("odd").evaluator_type = "odd_type"
    try:
        with pytest.raises(ConfigError, match="'odd_type'; those that can be built are coco"):
            build_evaluator("odd")
    finally:
        MetadataCatalog.remove("odd")
