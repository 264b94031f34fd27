"""The command `d2lite`: its names, its help, its exit status, and that help needs no torch."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from d2lite import __version__
from d2lite.commands import COMMANDS
from d2lite.commands.data_convert import FORMATS, IMAGE_MODES
from d2lite.commands.data_download import PARTS
from d2lite.config import get_cfg
from d2lite.data import converting
from d2lite.data.datasets.published import PUBLISHED
from d2lite.utils.other_words import COMMANDS as OTHER_COMMANDS
from d2lite.utils.other_words import OPTIONS

SLOW = ("torch", "cv2", "numpy")


def test_help_lists_all_commands_on_one_screen_with_two_examples(d2lite):
    status, out, _ = d2lite("--help")
    assert status == 0
    assert len(out.splitlines()) <= 24
    assert max(map(len, out.splitlines())) <= 80
    assert out.partition("examples:")[2].count("d2lite ") == 2
    for name in COMMANDS:
        assert name.split()[0] in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_two_examples(d2lite, name):
    status, out, _ = d2lite(*name.split(), "--help")
    assert status == 0
    assert out.count(f"d2lite {name}") >= 3, "usage and two examples"
    assert len(out.splitlines()) <= 48


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["data"], ["nonsense"]])
def test_help_and_mistakes_come_without_loading_torch(words):
    """Torch takes seconds to load; 0.06 s were measured without it, and 2 s leave room.

    Processor time counts: a machine that does other work as well would fail by the clock.
    """
    code = (
        "import sys\n"
        "from d2lite.commands import main\n"
        f"try:\n    main({words})\n"
        f"except SystemExit:\n    print([m for m in {SLOW} if m in sys.modules])\n"
    )
    before = os.times()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr
    after = os.times()
    assert after.children_user + after.children_system < (
        before.children_user + before.children_system + 2
    )


def test_no_module_of_a_command_loads_torch():
    modules = list(COMMANDS.values())
    code = (
        f"import sys, importlib\nfor m in {modules}: importlib.import_module(m).build_parser()\n"
        f"print([m for m in {SLOW} if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_version_is_that_of_the_package(d2lite):
    assert d2lite("--version")[:2] == (0, f"d2lite {__version__}\n")


def test_no_command_at_all_shows_the_help_and_is_a_mistake(d2lite):
    status, out, _ = d2lite()
    assert status == 2
    assert "examples:" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["trian"], "did you mean 'train'"),
        (["data", "chek"], "did you mean 'data check'"),
        (["data", "xyzzy"], "Known: data check, data show"),
        (["xyzzy"], "Known: train, eval"),
        (["train", "--no-such-option"], "--no-such-option"),
    ],
)
def test_unknown_words_are_answered_with_the_known_ones(d2lite, words, part):
    status, _, err = d2lite(*words)
    assert status == 2
    assert part in err
    assert "Traceback" not in err


def test_group_lists_its_commands(d2lite):
    status, out, _ = d2lite("data", "--help")
    assert status == 0
    assert {"check", "show", "convert", "download"} <= set(out.split())


def test_a_users_mistake_ends_with_2_and_a_message(d2lite):
    status, _, err = d2lite("config", "--config-file", "no_such.yaml")
    assert status == 2
    assert "no_such.yaml" in err
    assert "Traceback" not in err


def test_names_that_the_help_lists_are_those_of_the_data_package():
    """They are written twice, since the package that has them loads torch."""
    assert set(FORMATS) == set(converting.WRITERS)
    assert set(IMAGE_MODES) == set(converting.IMAGE_MODES)
    for name, one in PUBLISHED.items():
        shown = [part if part in one.default else f"({part})" for part in one.parts]
        assert PARTS[name] == ", ".join(shown)
    assert set(PARTS) == set(PUBLISHED)


def test_every_command_has_its_module():
    for module in COMMANDS.values():
        command = importlib.import_module(module)
        assert callable(command.build_parser)
        assert callable(command.main)


@pytest.mark.parametrize(
    "words",
    [
        ["out/run", "--num-gpus", "2", "SOLVER.BASE_LR", "0.1"],
        ["--num-gpus", "2", "out/run", "SOLVER.BASE_LR", "0.1"],
        ["--num-gpus", "2", "out/run", "--", "SOLVER.BASE_LR", "0.1"],
    ],
)
def test_the_run_of_eval_is_found_wherever_it_is(words):
    args = importlib.import_module("d2lite.commands.eval").build_parser().parse_args(words)
    assert args.subject == "out/run"
    assert args.num_gpus == 2
    assert [word for word in args.opts if word != "--"] == ["SOLVER.BASE_LR", "0.1"]


@pytest.mark.parametrize(
    "opts", [["SOLVER.BASE_LR", "0.1"], ["optimizer.lr=0.1"], ["+train.note=x", "~train.old"]]
)
def test_keys_are_not_taken_for_the_run(opts):
    parser = importlib.import_module("d2lite.commands.eval").build_parser()
    args = parser.parse_args(["--config-file", "a.yaml", *opts])
    assert args.subject is None
    assert args.opts == opts


PAIRS = ["MODEL.DEVICE", "cpu", "TEST.AUG.FLIP", "False"]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "a.jpg", "b.jpg", "--output", "o", "--opts", "A", "1"],
        ["--output", "o", "run", "a.jpg", "b.jpg", "--opts", "A", "1"],
        ["run", "a.jpg", "--output", "o", "b.jpg", "--opts", "A", "1"],
    ],
)
def test_run_and_inputs_of_predict_are_found_among_the_options(words):
    args = importlib.import_module("d2lite.commands.predict").build_parser().parse_args(words)
    assert args.words == ["run", "a.jpg", "b.jpg"]
    assert (args.output, args.opts) == ("o", ["A", "1"])


@pytest.mark.parametrize(
    "words",
    [
        ["run", "a.jpg", "--output", "o", *PAIRS],
        ["run", "a.jpg", *PAIRS, "--output", "o"],
        ["run", "--input", "a.jpg", "--output", "o", "--opts", *PAIRS],
    ],
)
def test_predict_takes_keys_at_the_end_as_all_commands_do(words):
    """They were taken for images."""
    args = importlib.import_module("d2lite.commands.predict").build_parser().parse_args(words)
    assert [*args.words, *args.input] == ["run", "a.jpg"]
    assert (args.output, args.opts) == ("o", PAIRS)


def test_a_photograph_in_capitals_is_not_a_key():
    parser = importlib.import_module("d2lite.commands.predict").build_parser()
    assert parser.parse_args(["run", "PHOTO.JPG"]).words == ["run", "PHOTO.JPG"]


@pytest.mark.parametrize("name", ["serve", "replay", "checkpoint"])
def test_the_other_commands_take_keys_at_the_end_too(name):
    words = ["a", "b"] if name == "checkpoint" else ["a"]
    parser = importlib.import_module(f"d2lite.commands.{name}").build_parser()
    assert parser.parse_args([*words, *PAIRS]).opts == PAIRS


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "--confg-file", "a.yaml"], ["--confg-file. Did you mean --config-file?"]),
        (["predict", "--treshold", "0.3", "a.pth", "b.jpg"], ["Did you mean --threshold?"]),
        (
            ["predict", "run", "a.jpg", "--conf", "0.3"],
            ["--conf is --threshold of d2lite predict here"],
        ),
        (["predict", "run", "a.jpg", "--save"], ["--save-as says in which formats"]),
        (["check", "--qqqqq"], ["arguments: --qqqqq. `d2lite check --help` lists"]),
        (["train", "photos", "--recipe", "big"], ["'big'", "balanced"]),
        (["train"], ["Nothing to train: give DATA"]),
        (["eval"], ["Nothing to evaluate: give RUN"]),
        (["analyze-model"], ["Nothing to analyze: give RUN"]),
    ],
)
def test_wrong_options_are_one_line_with_what_is_right(d2lite, words, parts):
    status, out, err = d2lite(*words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert all(part in err for part in parts), err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_of_100_columns(d2lite, name):
    _, out, _ = d2lite(*name.split(), "--help")
    assert max(map(len, out.splitlines())) <= 100


def test_words_of_other_libraries_are_answered_with_what_they_are_here(d2lite):
    """What somebody types first who comes from Ultralytics or MMDetection."""
    status, _, errors = d2lite("train", "data=data.yaml", "epochs=3", "model=x.pt")
    assert status == 2
    assert "DATA, the first word" in errors
    assert re.search(r"epochs=3 +SOLVER\.MAX_EPOCHS", errors)
    assert d2lite("predict", "run", "a.jpg", "--work-dir", "x")[2].count("OUTPUT_DIR") == 1
    for word, command in OTHER_COMMANDS.items():
        assert f"did you mean '{command}'" in d2lite(word, "x")[2]


def test_tables_of_other_words_agree_with_the_pages_and_the_keys():
    docs = Path(__file__).resolve().parents[2] / "docs"
    text = "".join(
        (docs / f"from_{name}.md").read_text() for name in ("ultralytics", "mmdetection")
    )
    text = text.replace("--", " ").replace("-", "_")
    assert [word for word in OPTIONS if not re.search(rf"\b{word}\b", text)] == []
    keys = re.findall(r"\b[A-Z][A-Z_0-9]+(?:\.[A-Z_0-9]+)+", " ".join(OPTIONS.values()))
    assert [key for key in keys if not get_cfg().has_key(key)] == []
