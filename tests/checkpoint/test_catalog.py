import pytest

from d2lite.checkpoint.catalog import ModelCatalog
from d2lite.utils.errors import UnknownNameError
from d2lite.utils.file_io import PathManager

ROOT = "https://dl.fbaipublicfiles.com/detectron"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ImageNetPretrained/MSRA/R-50", f"{ROOT}/ImageNetPretrained/MSRA/R-50.pkl"),
        ("ImageNetPretrained/FAIR/R-50-GN", f"{ROOT}/ImageNetPretrained/47261647/R-50-GN.pkl"),
        (
            "Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x",
            f"{ROOT}/35858933/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml.01_48_14.DzEQe4wC/"
            "output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/"
            "model_final.pkl",
        ),
    ],
)
def test_names_stand_for_published_addresses(name, address):
    assert ModelCatalog.get(name) == address


def test_keypoint_models_were_trained_on_keypoints():
    address = ModelCatalog.get("Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x")
    assert "keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival" in address


@pytest.mark.parametrize("name", ["ImageNetPretrained/MSRA/R-51", "Elsewhere/MSRA/R-50"])
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(UnknownNameError, match=r"R-5.*It has: ImageNetPretrained/MSRA/R-50, "):
        ModelCatalog.get(name)


def test_addresses_lead_to_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path))
    kept = tmp_path / "detectron/ImageNetPretrained/MSRA/R-50.pkl"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    assert PathManager.get_local_path("catalog://ImageNetPretrained/MSRA/R-50") == str(kept)
    with PathManager.open("catalog://ImageNetPretrained/MSRA/R-50", "rb") as stream:
        assert stream.read() == b"weights"
