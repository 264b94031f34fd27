"""`d2lite eval RUN` and `d2lite predict RUN IMAGE`: a run is named by its folder or checkpoint."""

import shutil

import pytest
import torch

from tests.tools.conftest import trained  # noqa: F401


def values(text):
    """The rows of numbers of an evaluation."""
    return [
        line.rpartition("copypaste: ")[2] for line in text.splitlines() if "copypaste: " in line
    ]


@pytest.mark.parametrize("name", ["", "model_final.pth"])
def test_evaluating_a_run_prints_what_the_training_printed(d2lite, trained, name, tmp_path):  # noqa: F811
    config = (trained / "config.yaml").read_text()
    status, out, err = d2lite("eval", trained / name)
    assert status == 0, err
    assert values(out) == values((trained / "log.txt").read_text())[: len(values(out))]
    assert len(values(out)) >= 4
    assert (trained / "config.yaml").read_text() == config, "the record of the training stays"


def test_predicting_with_a_run_needs_its_folder_and_images(d2lite, trained, tmp_path):  # noqa: F811
    status, _, err = d2lite(
        *("predict", trained, "shapes://val/1", "shapes://val/2"),
        *("--confidence-threshold", 0, "--output", tmp_path / "found"),
    )
    assert status == 0, err
    assert len(list((tmp_path / "found").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["eval", "no/such/run"], "no such run folder"),
        (["eval", "--config-file", "a.yaml", "b.pth"], "Give RUN"),
        (["eval", "solver.base_lr", "0.1"], "no such run folder"),
        (["predict", "no/such/run", "a.jpg"], "no such run folder"),
        (["predict"], "RUN INPUT"),
    ],
)
def test_what_is_not_a_run_is_named(d2lite, words, part):
    status, _, err = d2lite(*words)
    assert status == 2
    assert part in err
    assert "Traceback" not in err


def test_a_run_that_is_not_there_is_answered_with_those_beside_it(d2lite, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/config.yaml").write_text("")
    status, _, err = d2lite("eval", tmp_path / "fotos")
    assert status == 2
    assert f"Give {tmp_path / 'photos'}." in err
    assert "Known configs" not in err


def test_a_folder_without_a_checkpoint_is_named(d2lite, tmp_path):
    status, _, err = d2lite("eval", tmp_path)
    assert status == 2
    assert "not the folder of a run" in err
    (tmp_path / "config.yaml").write_text("MODEL:\n  MASK_ON: False\n")
    status, _, err = d2lite("eval", tmp_path)
    assert status == 2
    assert str(tmp_path) in err


def test_a_checkpoint_beside_its_run_is_evaluated_on_the_data_of_the_run(d2lite, trained, tmp_path):  # noqa: F811
    """Sets that are named by their files are not taken from a checkpoint, but from the folder."""
    state = torch.load(trained / "model_final.pth", weights_only=False)
    state["d2lite"]["config"] = state["d2lite"]["config"].replace("shapes_val", "coco:a.json@b")
    torch.save(state, tmp_path / "model.pth")
    status, _, err = d2lite("eval", tmp_path / "model.pth")
    assert status == 2
    assert "DATASETS.TEST is empty" in err
    shutil.copy(trained / "config.yaml", tmp_path)
    status, out, err = d2lite("eval", tmp_path / "model.pth")
    assert status == 0, err
    assert values(out) == values((trained / "log.txt").read_text())[: len(values(out))]


@pytest.mark.parametrize("command", [["eval"], ["predict"]])
def test_a_folder_of_runs_names_the_runs_in_it(d2lite, tmp_path, command):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    status, _, err = d2lite(*command, tmp_path, *(["a.jpg"] if command == ["predict"] else []))
    assert status == 2
    assert f"Give {tmp_path / 'first'} or {tmp_path / 'second'}." in err


def test_a_run_that_is_not_there_is_not_answered_with_a_list_of_all_configs(
    d2lite, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # there may be runs in the current folder's output/
    status, _, err = d2lite("eval", "output/qqqqqq")
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "none with a similar name" in err
