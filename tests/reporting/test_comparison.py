"""Comparing results, and the commands that do it."""

import csv
import json
import re

import pytest

from d2lite.commands import main
from d2lite.reporting.analysis import analyze
from d2lite.reporting.comparison import _changed_options, compare, image_changes, is_sure
from d2lite.reporting.evaluated_set import EvaluatedSet, read_results
from d2lite.reporting.run_files import RunFacts
from d2lite.utils.errors import DataError

from .conftest import write_run
from .sets import BOX, FAR, random_set, truth_and_results


def evaluated(objects, found):
    truth, results = truth_and_results(objects, found)
    return EvaluatedSet("set", truth, [analyze(truth, results, "bbox", num_resamples=0)], {})


OBJECTS = [(i, "cat", BOX) for i in range(1, 7)]


def test_difference_is_that_of_the_aps_and_sure_where_all_images_agree():
    bad, good = (evaluated(OBJECTS, [(i, "cat", b, 0.9) for i in range(1, 7)]) for b in (FAR, BOX))
    (found,), notes = compare(["bad", "good"], [bad, good], num_resamples=20)
    assert notes == []
    assert found.differences[0].value == pytest.approx(100)
    assert is_sure(found.differences[0])
    (same,), _ = compare(["good", "same"], [good, good], num_resamples=20)
    assert not is_sure(same.differences[0])


def test_images_that_changed_most_come_first():
    first = evaluated(OBJECTS, [(i, "cat", BOX, 0.9) for i in range(1, 7)])
    second = evaluated(OBJECTS, [(i, "cat", BOX, 0.9) for i in (1, 2, 3, 5, 6)])
    (found,), _ = compare(["a", "b"], [first, second], num_resamples=0)
    rows = image_changes(found)
    assert rows[0] == ["4", 100, 0, -100]
    assert rows[1][3] == 0


def test_results_on_different_images_are_not_compared():
    truth, results = random_set(1, num_images=5)
    other = EvaluatedSet("set", truth, [analyze(truth, results, "bbox", num_resamples=0)], {})
    found, notes = compare(["a", "b"], [evaluated(OBJECTS, []), other], num_resamples=0)
    assert found == []
    assert notes == ["Boxes are not compared: the results are of different images."]


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


@pytest.fixture
def files(tmp_path):
    truth, results = random_set(3)
    for name, content in {"gt": truth, "a": results, "b": results[::2]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_analyze_writes_page_json_and_csv(files, capfd):
    out = files / "out"
    words = ["analyze", "--gt", files / "gt.json", "--results", files / "a.json"]
    assert run(*words, "--output", out, "--resamples", 10) == 0
    found = json.loads((out / "analysis.json").read_text())["tasks"]["bbox"]
    rows = list(csv.DictReader((out / "classes.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["cat", "dog"]
    assert f"{found['metrics']['AP']:.3f}" in capfd.readouterr().out
    assert "<h2>Results on" in (out / "report.html").read_text()


def test_analyze_compares_two_files(files, capfd):
    out = files / "out"
    words = ["analyze", "--gt", files / "gt.json", "--results", files / "a.json"]
    assert run(*words, "--against", files / "b.json", "--output", out, "--resamples", 10) == 0
    found = json.loads((out / "compare.json").read_text())["bbox"]
    aps = [one["metrics"]["AP"] for one in found["results"].values()]
    assert found["differences"]["b.json"]["value"] == pytest.approx(aps[1] - aps[0])
    assert "bbox: AP of b.json minus AP of a.json is" in capfd.readouterr().out
    assert len((out / "images_bbox.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--errors"], "--errors needs --images FOLDER and --output FOLDER"),
        (["--resamples", "-1"], "--resamples: -1 is not a whole number of 0 or more"),
        (["--results", "gt.json"], "it holds a JSON dict; expected a list of objects"),
        (["--results", "none.json"], "none.json cannot be read: No such file"),
        (["--gt", "a.json"], "is not a COCO annotation file"),
    ],
)
def test_mistakes_of_analyze_are_one_message(files, capfd, monkeypatch, words, message):
    monkeypatch.chdir(files)
    assert run("analyze", "--gt", "gt.json", "--results", "a.json", *words) == 2
    assert message in capfd.readouterr().err


def test_entry_that_is_not_a_result_is_shown(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('[{"image_id": 1}]')
    with pytest.raises(DataError, match=r"entry 0 is \{'image_id': 1\}; expected an object with"):
        read_results(path)
    path.write_text("[")
    with pytest.raises(DataError, match="is not a JSON file"):
        read_results(path)


def test_report_of_one_run_goes_into_its_folder(run_folder, tmp_path):
    assert run("report", run_folder, "--errors", tmp_path / "errors") == 0
    assert (run_folder / "report.html").is_file()
    assert list((tmp_path / "errors" / "misses").rglob("*.jpg"))


def test_report_of_two_runs_shows_differences_of_results_and_options(tmp_path, photos, capfd):
    first = write_run(tmp_path / "a" / "run", photos, config="A: {B: 1}\nC: 2")
    second = write_run(
        tmp_path / "b" / "run", (photos[0], photos[1][::2]), config="A: {B: 3}\nC: 2"
    )
    output = tmp_path / "compare.html"
    assert run("report", first, second, "--output", output) == 0
    page = output.read_text()
    assert "<h1>a/run and b/run</h1>" in page
    assert '<th scope="row">A.B</th>' in page
    assert '<th scope="row">C</th>' not in page
    assert re.search(r'<th scope="row">\w+\.(jpg|png)</th>', page), "images by their file names"
    assert "bbox AP of b/run:" in capfd.readouterr().out
    assert run("report", first, second, "--errors", tmp_path / "errors") == 2


def test_report_of_a_folder_that_is_not_there_is_a_mistake(tmp_path, capfd):
    assert run("report", tmp_path / "none") == 2
    assert "There is no run in" in capfd.readouterr().err


def test_report_of_a_folder_that_is_not_a_run_writes_nothing_and_names_the_runs(tmp_path, capfd):
    """A page without any results came into the folder of the photographs."""
    assert run("report", tmp_path) == 2
    assert "no config.yaml and no metrics.json" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "first").mkdir()
    (tmp_path / "first/config.yaml").write_text("")
    assert run("report", tmp_path) == 2
    assert f"Give {tmp_path / 'first'}." in capfd.readouterr().err


def test_a_run_that_did_not_end_differs_only_in_the_keys_that_it_has():
    ended = RunFacts(command="d2lite train", config="A: 1\nB: 2\nUNUSED: 3")
    other = RunFacts(command="d2lite train", config="A: 1\nB: 4")
    cut_off = RunFacts(config="A: 1\nB: 4")
    assert _changed_options([ended, cut_off]) == [["B", "2", "4"]]
    assert _changed_options([ended, other]) == [["B", "2", "4"], ["UNUSED", "3", ""]]
