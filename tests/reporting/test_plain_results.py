"""Results that are not analysed, in tables of metrics and of classes."""

from d2lite.reporting import RunFacts, write_run_report
from d2lite.reporting.plain_results import plain_results, without_analysed

from .conftest import write_run

SEMANTIC = {
    "sem_seg/mIoU": 50.0,
    "sem_seg/IoU-sky": 60.0,
    "sem_seg/ACC-sky": 70.0,
    "sem_seg/IoU-wall/brick": 40.0,
    "sem_seg/IoU-T-shirt": 30.0,
}


def test_metrics_of_classes_become_a_row_for_each_class():
    (found,) = plain_results(SEMANTIC)
    assert found.title == "Semantic segmentation"
    assert found.rows == [["mIoU", 50.0]]
    assert [column.title for column in found.class_columns] == ["Class", "IoU", "ACC"]
    assert found.class_rows == [
        ["sky", 60.0, 70.0],
        ["wall/brick", 40.0, None],
        ["T-shirt", 30.0, None],
    ]


def test_sets_have_tables_of_their_own():
    found = plain_results({"coco:a.json@b/bbox/AP": 1.0, "other/bbox/AP": 2.0, "x": 3.0})
    assert [part.title for part in found] == [
        "Boxes on coco:a.json@b",
        "Boxes on other",
        "Results",
    ]


def test_what_an_analysis_shows_is_left_out():
    results = {"bbox/AP": 1.0, "panoptic_seg/PQ": 2.0}
    assert without_analysed(results, ["bbox"], ["one"]) == {"panoptic_seg/PQ": 2.0}
    assert without_analysed(results, [], ["one"]) == results
    results = {"one/bbox/AP": 1.0, "two/bbox/AP": 2.0, "two/sem_seg/mIoU": 3.0}
    left = without_analysed(results, ["bbox"], ["one", "two"])
    assert left == {"one/bbox/AP": 1.0, "two/sem_seg/mIoU": 3.0}


def test_report_shows_them_beside_the_analysis(tmp_path, photos):
    page = write_run_report(write_run(tmp_path / "run", photos, results=SEMANTIC)).read_text()
    assert "Semantic segmentation" in page
    assert 'id="results-bbox"' in page
    assert page.count('<section id="results">') == 1


def test_run_of_another_evaluator_has_its_tables(tmp_path):
    RunFacts(test_sets=["voc"], results={"bbox/AP50": 7.25, "bbox/AP50-cat": 8.5}).write(tmp_path)
    page = write_run_report(tmp_path).read_text()
    assert "7.25" in page
    assert "Results of each class: Boxes" in page
