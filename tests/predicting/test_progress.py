import pytest

from d2lite.predicting.progress import FILE_NAME, Progress
from d2lite.utils.errors import OutputError


def images(folder) -> list[str]:
    names = [str(folder / f"{number}.png") for number in range(3)]
    for name in names:
        with open(name, "w") as file:
            file.write(name)
    return names


def test_finished_images_are_known_after_a_kill(tmp_path):
    names = images(tmp_path)
    progress = Progress(tmp_path / "out", {"threshold": 0.5, "tiles": (640, 0.2)})
    progress.add(names[0], {"objects": [1]})
    progress.add(names[1], {"objects": []})
    # The process is gone, in the middle of a line.
    with open(tmp_path / "out" / FILE_NAME, "a") as file:
        file.write('{"name": "' + names[2])
    again = Progress(tmp_path / "out", {"threshold": 0.5, "tiles": (640, 0.2)})
    assert again.finished == set(names[:2])
    again.add(names[2], {"objects": [3]})
    assert [entry["objects"] for entry in again.contents()] == [[1], [], [3]]
    again.remove()
    assert not (tmp_path / "out" / FILE_NAME).exists()


def test_each_process_has_a_file_and_knows_what_the_others_finished(tmp_path):
    """Also when it is started again as one of another number of processes."""
    names = images(tmp_path)
    parts = [Progress(tmp_path / "out", {}, process=number) for number in range(3)]
    assert len({part.path for part in parts}) == 3
    parts[2].add(names[0], {"objects": [1]})
    parts[0].add(names[2], {"objects": [3]})
    parts[1].add(names[1], {"objects": [2]})
    again = Progress(tmp_path / "out", {}, process=1)
    assert again.finished == set(names)
    assert [entry["objects"] for entry in again.contents(names)] == [[1], [2], [3]]
    again.remove()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("process", [0, 1])
def test_what_any_process_noted_with_other_options_does_not_count(tmp_path, process):
    names = images(tmp_path)
    Progress(tmp_path / "out", {"threshold": 0.5}, process=process).add(names[0], {})
    again = Progress(tmp_path / "out", {"threshold": 0.4})
    assert again.finished == set()
    assert list(again.contents()) == []


def test_of_an_image_that_two_processes_noted_the_present_one_counts(tmp_path):
    names = images(tmp_path)
    new, old = (Progress(tmp_path / "out", {}, process=number) for number in (0, 1))
    old.add(names[0], {"version": 1})
    with open(names[0], "a") as file:
        file.write("longer")
    new.add(names[0], {"version": 2})
    assert [entry["version"] for entry in new.contents()] == [2]


def test_image_that_changed_is_predicted_again_and_counts_once(tmp_path):
    names = images(tmp_path)
    progress = Progress(tmp_path / "out", {})
    progress.add(names[0], {"version": 1})
    with open(names[0], "a") as file:
        file.write("longer")
    again = Progress(tmp_path / "out", {})
    assert again.finished == set()
    again.add(names[0], {"version": 2})
    assert [entry["version"] for entry in again.contents()] == [2]


@pytest.mark.parametrize("damage", ["", "null\n", "[1]\n{", "\0\0\0", '{"other": 1}\n'])
def test_file_that_is_not_ours_is_begun_again(tmp_path, damage):
    (tmp_path / FILE_NAME).write_text(damage)
    assert Progress(tmp_path, {"a": 1}).finished == set()
    assert Progress(tmp_path, {"a": 1}).path.read_text().count("\n") == 1


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--output"):
        Progress(tmp_path / "file" / "out", {})
