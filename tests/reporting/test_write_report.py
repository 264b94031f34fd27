"""report.html: one file with everything in it, whatever the folder of the run lacks."""

import json
import re
from pathlib import Path

import pytest

from d2lite.evaluation.coco_scoring import score_coco
from d2lite.reporting import RunFacts, as_json, read_facts, write_run_report
from d2lite.reporting.evaluated_set import EvaluatedSet, load_evaluated_set
from d2lite.reporting.run_files import read_scalars
from d2lite.utils.errors import DataError, MissingFileError

from .conftest import write_run


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_page_is_one_small_file_that_needs_no_other(report):
    page = text_of(report)
    assert len(page) < 8_000_000
    # Pictures and the icon are in the page; the rest of the addresses are places in it.
    addresses = re.findall(r"""(?:src|href)="([^"]*)""", page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    loaded = re.sub(r"http://www\.w3\.org/\S+|data:image/jpeg;base64,[\w+/=]+", "", page)
    assert not re.search(r"https?://|@import|url\((?!#)", loaded)


def test_page_has_its_sections(report):
    page = text_of(report)
    for section in ("results", "images", "training", "data", "faults", "config", "environment"):
        assert f'<section id="{section}">' in page
        assert f'<a href="#{section}">' in page


def test_names_from_outside_are_text_and_not_markup(report):
    page = text_of(report)
    assert "&lt;b&gt;cat&lt;/b&gt; &amp; $co$" in page
    assert "<b>cat" not in page
    assert "odd &lt;script&gt;" in page


def test_ids_occur_once(report):
    ids = re.findall(r'\bid="([^"]+)"', text_of(report))
    assert len(ids) == len(set(ids))


def test_numbers_are_those_of_the_scorer(report, photos):
    found = json.loads(text_of(report.with_suffix(".json")))["tasks"]["bbox"]
    evaluated = load_evaluated_set(report.parent, read_facts(report.parent))
    assert isinstance(evaluated, EvaluatedSet)
    scorer = score_coco(evaluated.truth, photos[1], "bbox")
    assert found["metrics"]["AP"] == pytest.approx(100 * scorer.stats[0])
    assert found == json.loads(json.dumps(as_json(evaluated.analyses[0])))
    assert set(found["thresholds"]) == {"<b>cat</b> & $co$", "dog"}


def test_results_of_another_evaluation_than_the_table_are_noted(tmp_path, photos):
    folder = write_run(tmp_path / "run", photos, results={"bbox/AP": 77.0})
    page = text_of(write_run_report(folder))
    assert "bbox/AP is 77.00 in the results table of the run" in page


def test_results_of_the_table_are_not_noted(report):
    assert 'role="note"' not in text_of(report)


def test_warning_is_listed_once_with_its_number(report):
    row = re.search(r"odd &lt;script&gt;</td>\s*<td[^>]*>(\d+)", text_of(report))
    assert row
    assert row[1] == "2"


def test_run_with_an_empty_log_alone_has_a_page(tmp_path):
    (tmp_path / "metrics.json").touch()
    page = text_of(write_run_report(tmp_path))
    assert "No analysis of results. The run has no DATASETS.TEST." in page
    assert "Not known: the folder has no config.yaml." in page


def test_run_whose_data_are_gone_has_a_page_that_says_so(tmp_path, photos):
    folder = write_run(tmp_path / "run", photos)
    RunFacts(test_sets=["my_lost_set"], results={"bbox/AP": 12.5}).write(folder)
    page = text_of(write_run_report(folder))
    assert "The set my_lost_set cannot be analysed: No dataset is registered" in page
    assert "12.50" in page


def test_images_that_are_gone_are_left_out(run_folder, photos, tmp_path):
    labels = Path(photos[0].split("@")[0].removeprefix("coco:"))
    (tmp_path / "labels.json").write_text(labels.read_text())
    facts = RunFacts(test_sets=[f"coco:{tmp_path}/labels.json@{tmp_path}"])
    page = text_of(write_run_report(run_folder, facts))
    assert '<section id="results">' in page
    assert '<section id="images">' not in page


def test_config_of_a_run_without_facts_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "DATASETS: {TRAIN: [a], TEST: [b, c]}\n"
        "TEST: {DETECTIONS_PER_IMAGE: 7, KEYPOINT_OKS_SIGMAS: []}\n"
    )
    facts = read_facts(tmp_path)
    assert (facts.train_sets, facts.test_sets) == (["a"], ["b", "c"])
    assert facts.detections_per_image == 7
    (tmp_path / "config.yaml").write_text("just text")
    assert read_facts(tmp_path) == RunFacts(config="just text")


def test_folder_that_is_not_there_and_damaged_facts_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="it is not a folder"):
        read_facts(tmp_path / "none")
    (tmp_path / "report_facts.json").write_text('{"no_such": 1}')
    with pytest.raises(DataError, match="Delete it: a report is then made without it"):
        read_facts(tmp_path)


def test_scalars_skip_a_torn_line_and_keep_null_as_undefined(run_folder):
    scalars = read_scalars(run_folder)
    assert scalars.series["total_loss"][0] == [19, 39, 59, 79, 99]
    assert scalars.series["total_loss"][1][-1] == pytest.approx(1.01)
    assert scalars.series["bbox/AP"][1][0] == 3.0


def test_each_miss_and_false_alarm_is_a_picture_on_request(run_folder, tmp_path):
    write_run_report(run_folder, errors_folder=tmp_path / "errors")
    found = json.loads(text_of(run_folder / "report.json"))["tasks"]["bbox"]["images"]
    for folder, count in (
        ("misses", sum(i["num_missed"] for i in found)),
        ("false_alarms", sum(i["num_wrong"] for i in found)),
    ):
        assert len(list((tmp_path / "errors" / folder).rglob("*.jpg"))) == count > 0
