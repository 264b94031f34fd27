"""Weights of detectron2, Caffe2 and torchvision."""

import collections
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.c2_model_loading import align_and_update_state_dicts
from d2lite.checkpoint.foreign import (
    convert_basic_c2_names,
    is_torchvision_resnet,
    rename_torchvision_resnet,
)
from d2lite.checkpoint.reading import _read_pickle as read_pickle
from d2lite.utils.errors import WeightsError


def _tree(names: dict[str, tuple[int, ...]]) -> nn.Module:
    """A module with parameters of these names, all zero."""
    root = nn.Module()
    for name, shape in names.items():
        *path, leaf = name.split(".")
        node = root
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, nn.Module())
            node = getattr(node, part)
        node.register_parameter(leaf, nn.Parameter(torch.zeros(shape)))
    return root


RESNET = {
    "backbone.bottom_up.stem.conv1.weight": (2,),
    "backbone.bottom_up.stem.conv1.norm.weight": (3,),
    "backbone.bottom_up.res2.0.conv1.weight": (4,),
    "backbone.bottom_up.res2.0.conv1.norm.bias": (5,),
    "backbone.bottom_up.res2.0.shortcut.weight": (6,),
    "backbone.bottom_up.res2.0.shortcut.norm.weight": (7,),
    "roi_heads.res5.2.conv3.norm.weight": (8,),
    "roi_heads.box_predictor.cls_score.weight": (9,),
}


def test_pickle_of_the_published_zoo_loads_by_full_names(tmp_path):
    arrays = {name: np.full(shape, 2.0, np.float32) for name, shape in RESNET.items()}
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Zoo"}, protocol=2))
    model = _tree(RESNET)
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(path))
    assert not checkpointer.report.missing
    assert all((value == 2).all() for value in model.state_dict().values())


def test_backbone_weights_find_their_place_by_the_end_of_their_names(tmp_path):
    prefixes = ("backbone.bottom_up.", "roi_heads.")
    arrays = {}
    for name, shape in list(RESNET.items())[:-1]:
        short = next(name.removeprefix(p) for p in prefixes if name.startswith(p))
        arrays[short] = np.ones(shape, np.float32)
    arrays["fc.weight"] = np.ones(3)
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True}))
    model = _tree(RESNET)
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(path))
    assert checkpointer.report.missing == ["roi_heads.box_predictor.cls_score.weight"]
    assert checkpointer.report.unexpected == ["fc.weight"]
    assert model.state_dict()["roi_heads.res5.2.conv3.norm.weight"].sum() == 8


@pytest.mark.parametrize("under_blobs", [True, False])
def test_caffe2_pickle_is_translated(tmp_path, under_blobs):
    blobs = {
        "conv1_w": np.ones(2),
        "res_conv1_bn_s": np.ones(3),
        "res2_0_branch2a_w": np.ones(4),
        "res2_0_branch2a_bn_b": np.ones(5),
        "res2_0_branch1_w": np.ones(6),
        "res2_0_branch1_bn_s": np.ones(7),
        "res5_2_branch2c_bn_s": np.ones(8),
        "pred_w": np.ones(3),
        "conv1_w_momentum": np.ones(2),
    }
    content = {"blobs": blobs, "cfg": "a: 1"} if under_blobs else blobs
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    checkpointer = DetectionCheckpointer(_tree(RESNET))
    checkpointer.load(str(path))
    assert checkpointer.report.missing == ["roi_heads.box_predictor.cls_score.weight"]
    assert checkpointer.report.unexpected == ["pred.weight"]


def test_torchvision_resnet_loads_into_a_backbone(tmp_path):
    names = {
        "conv1.weight": 2,
        "bn1.weight": 3,
        "layer1.0.conv1.weight": 4,
        "layer1.0.bn1.bias": 5,
        "layer1.0.downsample.0.weight": 6,
        "layer1.0.downsample.1.weight": 7,
        "layer4.2.bn3.weight": 8,
        "layer4.2.bn3.num_batches_tracked": 1,
        "fc.weight": 9,
    }
    torch.save({name: torch.ones(size) for name, size in names.items()}, tmp_path / "r.pth")
    checkpointer = DetectionCheckpointer(_tree(RESNET))
    checkpointer.load(str(tmp_path / "r.pth"))
    assert checkpointer.report.missing == ["roi_heads.box_predictor.cls_score.weight"]
    assert checkpointer.report.unexpected == ["fc.weight"]


def test_path_may_ask_for_weights_by_the_ends_of_their_names(tmp_path):
    """For files of which some names fit the model by chance."""
    model = _tree({"body.first": 2, "first": 3})
    torch.save({"first": torch.ones(2)}, tmp_path / "x.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(f"{tmp_path}/x.pth?matching_heuristics=True")
    assert checkpointer.report.loaded == ["body.first"]
    with pytest.raises(WeightsError, match="None of the 1 weights"):
        checkpointer.load(f"{tmp_path}/x.pth?matching_heuristics=False")


@pytest.mark.parametrize("depth", ["resnet18", "resnet50"])
def test_every_weight_of_a_torchvision_resnet_gets_a_name_of_its_own(depth):
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        weights = getattr(torchvision.models, depth)().state_dict()
    assert is_torchvision_resnet(weights)
    renamed = rename_torchvision_resnet(weights)
    assert len(renamed) == len(weights)
    expected = r"(stem|res[2345]\.\d)\.(conv[123]|shortcut)(\.norm)?\.[a-z_]+|fc\.(weight|bias)"
    for name in renamed:
        assert re.fullmatch(expected, name), name


@pytest.mark.parametrize(
    ("blob", "name"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("conv1_b", "stem.conv1.bias"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("conv1_gn_s", "stem.conv1.norm.weight"),
        ("res4_22_branch2b_w", "res4.22.conv2.weight"),
        ("res4_22_branch2b_bn_rm", "res4.22.conv2.norm.running_mean"),
        ("res3_0_branch1_bn_riv", "res3.0.shortcut.norm.running_var"),
        ("res3_0_branch2c_gn_b", "res3.0.conv3.norm.bias"),
        ("fc1000_w", "fc1000.weight"),
        ("lr", "lr"),
    ],
)
def test_blob_names_are_translated(blob, name):
    assert convert_basic_c2_names([blob]) == [name]


def test_longest_ending_wins():
    model = {"a.b.c": torch.zeros(1), "x.c": torch.zeros(1)}
    found = align_and_update_state_dicts(
        model, {"b.c": torch.ones(1), "c": torch.ones(2)}, c2_conversion=False
    )
    assert {name: value.numel() for name, value in found.items()} == {"a.b.c": 1, "x.c": 2}


def test_names_are_cut_at_dots_only():
    model, weights = {"myconv.w": torch.zeros(1)}, {"conv.w": torch.ones(1)}
    found = align_and_update_state_dicts(model, weights, c2_conversion=False)
    assert list(found) == ["conv.w"]


def test_weight_that_fits_two_parameters_is_refused():
    model = {"a.c": torch.zeros(1), "b.c": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"'c' fits both 'a\.c' and 'b\.c'"):
        align_and_update_state_dicts(model, {"c": torch.ones(1)}, c2_conversion=False)


def test_shape_tells_which_of_two_parameters_is_meant():
    """The stem of a bare ResNet and a convolution of a box head are both called conv1."""
    model = {"body.conv1": torch.zeros(8, 3, 7, 7), "head.conv1": torch.zeros(8, 8, 3, 3)}
    weights = {"conv1": torch.ones(8, 3, 7, 7)}
    found = align_and_update_state_dicts(model, weights, c2_conversion=False)
    assert list(found) == ["body.conv1"]


def test_weight_whose_shape_fits_none_of_two_parameters_stays_out():
    model = {"body.conv1": torch.zeros(8, 4, 7, 7), "head.conv1": torch.zeros(8, 8, 3, 3)}
    weights = {"conv1": torch.ones(8, 3, 7, 7)}
    found = align_and_update_state_dicts(model, weights, c2_conversion=False)
    assert list(found) == ["conv1"]


# ---------------------------------------------------------------------------- pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_are_read_as_they_were(tmp_path, protocol):
    content = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 4)),
        "ints": np.arange(3, dtype=">i8"),
        "bools": np.array([True, False]),
        "texts": np.array(["ab", "c"]),
        "scalar": np.float32(1.5),
        "nested": [(1, 2.5, None), {"a": b"bytes"}, True],
        "ordered": collections.OrderedDict(a=1),
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_pickle(path)
    assert read.keys() == content.keys()
    for key in ("array", "empty", "ints", "bools", "texts"):
        assert np.array_equal(read[key], content[key])
        assert read[key].dtype.newbyteorder("=") == content[key].dtype.newbyteorder("=")
    assert read["scalar"] == 1.5
    assert read["nested"] == content["nested"]
    assert read["ordered"] == content["ordered"]


def test_file_of_python_2_with_byte_names_is_read(tmp_path):
    """Published Caffe2 files are of that kind: every name is a byte string."""
    raw = b"(dp0\nS'conv1_w'\np1\nI3\ns."
    (tmp_path / "x.pkl").write_bytes(raw)
    assert read_pickle(tmp_path / "x.pkl") == {"conv1_w": 3}


class _Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (_Call(eval, "1"), "builtins.eval"),
        (_Call(getattr, {}, "pop"), "builtins.getattr"),
        (_Call(np.load, "x"), "numpy"),
        (torch.ones(1), "torch"),
        (_Call(np.memmap, "x"), "memmap"),
        (_Call(bytes, 10**12), "refused|readable"),
        (np.array([print]), "numpy values of the type 'O8'"),
        ({1}.__class__, "builtins.set"),
    ],
)
def test_every_other_class_is_refused_by_name(tmp_path, value, named):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": value}))
    with pytest.raises(WeightsError, match=f"x.pkl.*({named})"):
        read_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("kept", [0, 5, 40, 90])
def test_damaged_pickle_is_named(tmp_path, kept):
    content = pickle.dumps({"model": {"a": np.ones(9)}})
    (tmp_path / "x.pkl").write_bytes(content[:kept])
    with pytest.raises(WeightsError, match=r"x\.pkl"):
        read_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("number", [np.float64(0.25), np.int64(3), np.float32(1.5), np.bool_(True)])
def test_numpy_numbers_in_the_training_state_of_others_are_read(tmp_path, number):
    """detectron2's own runs save their best metric like this."""
    weights = {name: torch.ones(shape) for name, shape in RESNET.items()}
    content = {"model": weights, "trainer": {"best": number}, "array": np.arange(3.0)}
    torch.save(content, tmp_path / "x.pth")
    rest = DetectionCheckpointer(_tree(RESNET)).load(str(tmp_path / "x.pth"))
    assert rest["trainer"]["best"] == number
    assert np.array_equal(rest["array"], np.arange(3.0))
