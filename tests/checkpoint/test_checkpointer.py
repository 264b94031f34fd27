"""Saving and loading: round trips, wrong files, resuming."""

import logging
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import d2lite
from d2lite.checkpoint import Checkpointer, DetectionCheckpointer, PeriodicCheckpointer
from d2lite.utils.errors import MissingFileError, OutputError, WeightsError
from d2lite.utils.file_io import PathHandler, PathManager


class Model(nn.Sequential):
    """Two layers, with a norm that has buffers."""

    def __init__(self, classes: int = 3):
        super().__init__(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1))


class Counter:
    """A checkpointable with nested plain state."""

    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value, "nested": [{"best": np.float64(0.5)}, (1, None, "x")]}

    def load_state_dict(self, state):
        self.value = state["value"]
        self.nested = state["nested"]


def _fill(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.fill_(value + index)
    return model


def _equal(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_saved_run_is_loaded_whole(tmp_path):
    model = _fill(Model(), 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    model(torch.ones(2, 3, 2, 2)).sum().backward()
    optimizer.step()
    saver = DetectionCheckpointer(
        model,
        str(tmp_path),
        extra={"config": "SEED: 1\n"},
        optimizer=optimizer,
        counter=Counter(np.int64(7)),
    )
    saver.save("model_0000004", iteration=4, scores=np.arange(3))

    twin, counter = Model(), Counter()
    twin_optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1)
    loader = DetectionCheckpointer(twin, str(tmp_path), optimizer=twin_optimizer, counter=counter)
    rest = loader.load(str(tmp_path / "model_0000004.pth"))
    assert _equal(twin, model)
    assert twin_optimizer.param_groups[0]["lr"] == 0.5
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    loaded = [state["exp_avg"] for state in twin_optimizer.state.values()]
    assert all(map(torch.equal, moments, loaded))
    assert counter.value == 7
    assert counter.nested == [{"best": 0.5}, (1, None, "x")]
    assert rest["iteration"] == 4
    assert rest["scores"].tolist() == [0, 1, 2]
    assert rest["d2lite"] == {"version": d2lite.__version__, "config": "SEED: 1\n"}
    assert loader.loaded_extra["config"] == "SEED: 1\n"


def test_class_names_of_the_model_travel_with_the_file(tmp_path):
    model = Model()
    model.class_names = ["apple", "nut"]
    DetectionCheckpointer(model, str(tmp_path)).save("x")
    loader = DetectionCheckpointer(Model())
    loader.load(str(tmp_path / "x.pth"))
    assert loader.loaded_extra["class_names"] == ["apple", "nut"]


def test_saved_file_is_read_by_the_safe_loader_alone(tmp_path):
    DetectionCheckpointer(Model(), str(tmp_path), counter=Counter()).save("x", iteration=3)
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    assert set(content) == {"model", "counter", "iteration", "d2lite"}


def test_wrapped_model_is_saved_and_loaded_without_the_wrappers_names(tmp_path):
    """A run on several devices and one on a single device read each other's files."""
    model = _fill(Model(), 1)
    DetectionCheckpointer(nn.DataParallel(model), str(tmp_path)).save("x")
    twin = nn.DataParallel(Model())
    DetectionCheckpointer(twin).load(str(tmp_path / "x.pth"))
    assert _equal(twin.module, model)


def test_file_with_the_wrappers_names_loads_too(tmp_path):
    model = _fill(Model(), 1)
    torch.save({"state_dict": nn.DataParallel(model).state_dict()}, tmp_path / "x.pth")
    twin = Model()
    checkpointer = DetectionCheckpointer(twin)
    checkpointer.load(str(tmp_path / "x.pth"))
    assert _equal(twin, model)
    assert not checkpointer.report.missing


def test_bare_state_dict_loads(tmp_path):
    model = _fill(Model(), 1)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    twin = Model()
    DetectionCheckpointer(twin).load(str(tmp_path / "x.pth"))
    assert _equal(twin, model)


def test_weights_to_save_and_collect_decide_what_a_file_holds(tmp_path):
    """Averaged weights are saved in place of the model's; sharded training gathers its state."""
    averaged = _fill(Model(), 5)
    saver = Checkpointer(
        _fill(Model(), 1),
        str(tmp_path),
        weights_to_save=averaged.state_dict,
        collect=lambda data: {**data, "gathered": True},
    )
    saver.save("x")
    twin = Model()
    assert Checkpointer(twin).load(str(tmp_path / "x.pth"))["gathered"]
    assert _equal(twin, averaged)


def test_state_that_is_not_plain_is_refused_before_anything_is_written(tmp_path):
    """Such a file could be written but never be read back safely."""
    with pytest.raises(TypeError, match=r"checkpoint\.extra\[1\]\.x is a builtins\.object"):
        Checkpointer(Model(), str(tmp_path)).save("x", extra=[0, {"x": object()}])
    assert list(tmp_path.iterdir()) == []


def test_failed_write_is_reported_and_leaves_no_tag(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        Checkpointer(Model(), str(tmp_path / "taken" / "run")).save("x")


def test_process_that_does_not_write_writes_nothing(tmp_path):
    Checkpointer(Model(), str(tmp_path), save_to_disk=False).save("x")
    Checkpointer(Model()).save("x")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- reports


def test_report_lists_missing_unexpected_and_other_shapes(tmp_path, caplog):
    weights = Model().state_dict()
    weights["head.weight"] = torch.ones(3)
    weights["pixel_mean"] = torch.ones(3)
    del weights["0.bias"]
    torch.save({"model": weights}, tmp_path / "x.pth")
    twin = Model(classes=5)
    before = twin[2].weight.clone()
    checkpointer = DetectionCheckpointer(twin)
    checkpointer.load(str(tmp_path / "x.pth"))
    report = checkpointer.report
    assert report.missing == ["0.bias"]
    assert report.unexpected == ["head.weight"]
    assert [name for name, _, _ in report.other_shape] == ["2.weight", "2.bias"]
    assert report.other_shape[1] == ("2.bias", (3,), (5,))
    assert torch.equal(twin[2].weight, before)
    assert "2.bias ([3] in the file, [5] in the model)" in caplog.text
    assert "6 of the model's 9 tensors" in str(report)


def test_complete_load_is_reported_in_one_line(tmp_path, caplog):
    torch.save({"model": Model().state_dict()}, tmp_path / "x.pth")
    with caplog.at_level(logging.INFO):
        DetectionCheckpointer(Model()).load(str(tmp_path / "x.pth"))
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.text.strip().endswith("9 of the model's 9 tensors")


def test_weights_that_are_not_numbers_are_named(tmp_path, caplog):
    """A model with them finds nothing and says nothing, and a resumed run blames the rate."""
    state = Model().state_dict()
    state["2.bias"][1] = torch.nan
    torch.save(state, tmp_path / "lost.pth")
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(Model()).load(str(tmp_path / "lost.pth"))
    assert "1 of the 9 weights in" in caplog.text
    assert "not numbers (NaN), such as '2.bias'" in caplog.text


def test_no_weights_leave_the_model_as_it_is(caplog):
    model = _fill(Model(), 3)
    with caplog.at_level(logging.INFO):
        assert DetectionCheckpointer(model).load("") == {}
    assert _equal(model, _fill(Model(), 3))
    assert "MODEL.WEIGHTS is empty" in caplog.text


# ---------------------------------------------------------------------------- wrong files


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    weights = nn.ModuleDict({"other": nn.Linear(2, 2)}).state_dict()
    torch.save({"model": weights}, tmp_path / "x.pth")
    model = _fill(Model(), 3)
    with pytest.raises(WeightsError, match=r"None of the 2 weights in .*x\.pth.*'other.weight'"):
        DetectionCheckpointer(model).load(str(tmp_path / "x.pth"))
    assert _equal(model, _fill(Model(), 3))


def test_missing_file_names_the_path_and_the_key(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing\.pth was not found.*MODEL\.WEIGHTS"):
        DetectionCheckpointer(Model()).load(str(tmp_path / "nothing.pth"))
    with pytest.raises(MissingFileError, match="is a folder"):
        DetectionCheckpointer(Model()).load(str(tmp_path))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_file_that_was_cut_off_is_named(tmp_path, kept):
    path = tmp_path / "x.pth"
    torch.save({"model": Model().state_dict()}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsError, match=r"x\.pth"):
        DetectionCheckpointer(Model()).load(str(path))


@pytest.mark.parametrize("content", [b"just text", b"\x80\x04garbage", b"<html></html>"])
@pytest.mark.parametrize("name", ["x.pth", "x.pkl"])
def test_file_of_something_else_is_named(tmp_path, name, content):
    """For instance a page of the network's login, saved under the name of the weights."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.p"):
        DetectionCheckpointer(Model()).load(str(tmp_path / name))


@pytest.mark.parametrize("value", [[1, 2], {}, {"model": {}}, {"model": {"a": "text"}}, {"a": 3}])
def test_file_without_weights_is_named(tmp_path, value):
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth"):
        DetectionCheckpointer(Model()).load(str(tmp_path / "x.pth"))


class _Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("name", ["x.pth", "x.pkl"])
def test_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, name):
    mark = tmp_path / "mark"
    evil = {"model": Model().state_dict(), "extra": _Evil(mark)}
    if name == "x.pkl":
        (tmp_path / name).write_bytes(pickle.dumps(_Evil(mark)))
    else:
        torch.save(evil, tmp_path / name)
    with pytest.raises(WeightsError, match="open"):
        DetectionCheckpointer(Model()).load(str(tmp_path / name))
    assert not mark.exists()


def test_optimizer_of_another_run_is_refused_with_a_mend(tmp_path):
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    Checkpointer(model, str(tmp_path), optimizer=optimizer).save("x")
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1)
    with pytest.raises(WeightsError, match=r"'optimizer' in .*leave --resume out"):
        Checkpointer(Model(), optimizer=other).load(str(tmp_path / "x.pth"))


def test_file_without_a_checkpointable_says_so_and_loads_the_rest(tmp_path, caplog):
    Checkpointer(_fill(Model(), 1), str(tmp_path)).save("x")
    twin, counter = Model(), Counter(5)
    Checkpointer(twin, counter=counter).load(str(tmp_path / "x.pth"))
    assert counter.value == 5
    assert "does not hold 'counter'" in caplog.text


def test_unknown_checkpointable_is_refused(tmp_path):
    Checkpointer(Model(), str(tmp_path)).save("x")
    with pytest.raises(ValueError, match="'optimiser' is not a checkpointable; known: counter"):
        Checkpointer(Model(), counter=Counter()).load(str(tmp_path / "x.pth"), ["optimiser"])


@pytest.mark.parametrize(
    ("key", "obj", "error"),
    [
        ("model", Counter(), KeyError),
        ("counter", Counter(), KeyError),
        ("counter", Counter(), ValueError),
        ("x", 3, TypeError),
    ],
)
def test_checkpointable_that_cannot_be_added_is_refused(key, obj, error):
    checkpointer = Checkpointer(Model(), counter=Counter())
    with pytest.raises(error, match=f"{key}"):
        checkpointer.add_checkpointable(key, obj)


# ---------------------------------------------------------------------------- hook points


def test_a_file_is_read_by_a_method_that_a_subclass_overrides(tmp_path):
    """As AdelaiDet's checkpointer does, which reads its own kinds of files so."""

    class Arrays(DetectionCheckpointer):
        def _load_file(self, filename):
            asked.append(filename)
            return {"model": {k: np.full_like(v, 3) for k, v in dict(np.load(filename)).items()}}

    asked, twin = [], Model()
    np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in Model().state_dict().items()})
    Arrays(twin).load(str(tmp_path / "w.npz"))
    assert asked == [str(tmp_path / "w.npz")]
    assert all((value == 3).all() for value in twin.state_dict().values())


def test_arrays_are_converted_by_a_method_that_a_subclass_overrides(tmp_path):
    class Doubling(Checkpointer):
        def _convert_ndarray_to_tensor(self, state_dict):
            for key, value in state_dict.items():
                state_dict[key] = value * 2

    model, twin = Model(), Model()
    Checkpointer(model, str(tmp_path)).save("x")
    Doubling(twin).load(str(tmp_path / "x.pth"))
    for key, value in model.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value * 2)


def test_the_report_of_a_load_can_be_changed_by_a_subclass(tmp_path, caplog):
    class Tolerant(DetectionCheckpointer):
        def _load_model(self, checkpoint):
            checkpoint["model"].pop(gone)
            report = super()._load_model(checkpoint)
            report.missing_keys.remove(gone)
            return report

    gone = next(iter(Model().state_dict()))
    Checkpointer(Model(), str(tmp_path)).save("x")
    caplog.clear()
    checkpointer = Tolerant(Model())
    checkpointer.load(str(tmp_path / "x.pth"))
    assert checkpointer.report.missing == []
    assert (checkpointer.report.unexpected_keys, checkpointer.report.incorrect_shapes) == ([], [])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_files_are_found_by_the_checkpointers_own_path_manager(tmp_path):
    class Handler(PathHandler):
        def _get_supported_prefixes(self):
            return ["mine://"]

        def _get_local_path(self, path, **kwargs):
            return str(tmp_path / path.removeprefix("mine://"))

    manager = type(PathManager)()
    manager.register_handler(Handler())
    checkpointer = Checkpointer(Model(), "mine://run", counter=Counter())
    checkpointer.path_manager = manager
    checkpointer.save("first")
    assert (tmp_path / "run/first.pth").is_file()
    assert checkpointer.has_checkpoint()
    assert checkpointer.load("mine://run/first.pth") is not None
    assert checkpointer.resume_or_load("", resume=True) is not None
    with pytest.raises(FileNotFoundError):
        checkpointer.load("mine://run/second.pth")


# ---------------------------------------------------------------------------- resuming


def test_resume_takes_the_last_checkpoint_and_everything_in_it(tmp_path):
    saver = Checkpointer(_fill(Model(), 1), str(tmp_path), counter=Counter(1))
    saver.save("first", iteration=1)
    _fill(saver.model, 2)
    saver.save("second", iteration=2)
    counter, twin = Counter(), Model()
    loader = Checkpointer(twin, str(tmp_path), counter=counter)
    assert loader.resume_or_load("/no/such/file.pth", resume=True)["iteration"] == 2
    assert _equal(twin, _fill(Model(), 2))
    assert counter.value == 1
    assert (tmp_path / "last_checkpoint").read_text() == "second.pth"
    assert loader.get_checkpoint_file() == str(tmp_path / "second.pth")
    assert len(loader.get_all_checkpoint_files()) == 2


def test_without_resume_only_the_model_is_taken_from_the_weights(tmp_path):
    Checkpointer(_fill(Model(), 1), str(tmp_path), counter=Counter(8)).save("x", iteration=2)
    counter, twin = Counter(), Model()
    Checkpointer(twin, str(tmp_path), counter=counter).resume_or_load(
        str(tmp_path / "x.pth"), resume=False
    )
    assert _equal(twin, _fill(Model(), 1))
    assert counter.value == 0


def test_nothing_to_resume_starts_from_the_weights(tmp_path):
    checkpointer = Checkpointer(Model(), str(tmp_path / "new"))
    assert not checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == ""
    assert checkpointer.get_all_checkpoint_files() == []
    assert checkpointer.resume_or_load("", resume=True) == {}


def test_last_checkpoint_that_is_gone_names_what_is_left(tmp_path):
    checkpointer = Checkpointer(Model(), str(tmp_path))
    checkpointer.save("first")
    checkpointer.save("second")
    (tmp_path / "second.pth").unlink()
    with pytest.raises(MissingFileError, match=r"second\.pth, which is gone.*first\.pth"):
        checkpointer.get_checkpoint_file()


def test_last_checkpoint_that_is_gone_is_named_and_the_one_before_taken(tmp_path, caplog):
    checkpointer = Checkpointer(Model(), str(tmp_path))
    checkpointer.save("first", iteration=1)
    checkpointer.save("second", iteration=2)
    (tmp_path / "second.pth").unlink()
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 1
    assert "Skipping second.pth" in caplog.text
    (tmp_path / "first.pth").unlink()
    with pytest.raises(MissingFileError, match=r"second\.pth, which is gone.*none left"):
        checkpointer.resume_or_load("", resume=True)


@pytest.mark.parametrize("lost", ["gone", "a pipe", "a folder", "leads nowhere", "leads to itself"])
def test_a_note_of_the_last_checkpoint_that_was_lost_does_not_begin_the_run_from_scratch(
    tmp_path, caplog, lost
):
    checkpointer = Checkpointer(Model(), str(tmp_path), counter=Counter())
    checkpointer.save("model_0000004", iteration=4)
    checkpointer.save("model_final", iteration=5)
    mark = tmp_path / "last_checkpoint"
    mark.unlink()
    make = {
        "gone": lambda: None,
        "a pipe": lambda: os.mkfifo(mark),
        "a folder": mark.mkdir,
        "leads nowhere": lambda: mark.symlink_to("nowhere"),
        "leads to itself": lambda: mark.symlink_to(mark.name),
    }
    make[lost]()
    assert checkpointer.has_checkpoint()
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 5
    wanted = "is missing" if lost == "gone" else "does not name a file there"
    assert f"last_checkpoint {wanted}" in caplog.text
    assert "Using" in caplog.text


@pytest.mark.parametrize("name", ["start.pth", "model_final.pth"])
def test_other_weights_in_a_folder_are_not_the_checkpoints_of_a_run(tmp_path, name):
    torch.save({"model": Model().state_dict()}, tmp_path / name)
    checkpointer = Checkpointer(Model(), str(tmp_path), counter=Counter())
    assert checkpointer.has_checkpoint() == (name != "start.pth")
    assert checkpointer.resume_or_load("", resume=True) == {}


# ---------------------------------------------------------------------------- periodic


def _names(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def test_periodic_checkpoints_come_on_time_and_at_the_end(tmp_path):
    periodic = PeriodicCheckpointer(Checkpointer(Model(), str(tmp_path)), 3, max_iter=7)
    for iteration in range(7):
        periodic.step(iteration, note="x")
    assert _names(tmp_path) == ["model_0000002.pth", "model_0000005.pth", "model_final.pth"]
    content = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert (content["iteration"], content["note"]) == (6, "x")


def test_only_the_newest_are_kept_also_over_a_resume(tmp_path):
    (tmp_path / "model_best.pth").write_text("not periodic")
    for start in (0, 4):
        periodic = PeriodicCheckpointer(Checkpointer(Model(), str(tmp_path)), 1, max_to_keep=2)
        for iteration in range(start, start + 4):
            periodic.step(iteration)
            assert len(_names(tmp_path)) <= 3
    assert _names(tmp_path) == ["model_0000006.pth", "model_0000007.pth", "model_best.pth"]


def test_a_file_of_a_longer_run_before_is_not_taken_for_the_newest(tmp_path):
    """The new file was deleted instead, and last_checkpoint named a file that was gone."""
    old = tmp_path / "model_0089999.pth"
    old.touch()
    os.utime(old, (0, 0))
    checkpointer = Checkpointer(Model(), str(tmp_path))
    PeriodicCheckpointer(checkpointer, 10, max_to_keep=1).step(9)
    assert _names(tmp_path) == ["model_0000009.pth"]
    assert checkpointer.get_checkpoint_file()


@pytest.mark.parametrize(("period", "keep"), [(0, None), (1, 0)])
def test_impossible_periods_are_refused(period, keep):
    with pytest.raises(ValueError, match="must be 1 or more"):
        PeriodicCheckpointer(Checkpointer(Model()), period, max_to_keep=keep)


@pytest.mark.parametrize(
    "mark", [b"", b".", b"..", b"/", b"\xff\xfe\x00", b"../../etc/passwd", b"x" * 5000, b"a\x00b"]
)
def test_note_that_names_no_file_leads_to_the_newest_checkpoint(tmp_path, mark, caplog):
    """A disk that fills up, or an editor, leaves anything in last_checkpoint."""
    model = nn.Linear(2, 1)
    checkpointer = Checkpointer(model, tmp_path)
    checkpointer.save("model_0000001", iteration=1)
    (tmp_path / "last_checkpoint").write_bytes(mark)
    path, content = checkpointer.read_newest()
    assert Path(path).name == "model_0000001.pth"
    assert content["iteration"] == 1
    assert "last_checkpoint" in caplog.text
    with pytest.raises(MissingFileError, match=r"last_checkpoint does not name a file there"):
        checkpointer.get_checkpoint_file()


def test_note_with_a_path_means_the_file_of_that_name(tmp_path):
    checkpointer = Checkpointer(nn.Linear(2, 1), tmp_path)
    checkpointer.save("model_final")
    (tmp_path / "last_checkpoint").write_text("/before/it/moved/model_final.pth\n")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_final.pth")


def test_checkpoint_just_written_stays_where_the_clock_was_set_back(tmp_path):
    periodic = PeriodicCheckpointer(Checkpointer(Model(), str(tmp_path)), 1, max_to_keep=1)
    periodic.step(0)
    later = time.time() + 3600
    os.utime(tmp_path / "model_0000000.pth", (later, later))
    periodic.step(1)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000001.pth"]
