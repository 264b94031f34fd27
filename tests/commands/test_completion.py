"""`d2lite completion` prints scripts that complete commands, options and names."""

import shutil
import subprocess

import pytest

from d2lite.commands.actions.completion import completion_script
from d2lite.commands.program import whole_parser

BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tra"], {"train"}),
        (["data", "down"], {"download"}),
        (["train", "--config-f"], {"--config-file"}),
        (["train", "--config-file", "quick"], {"quick_start.yaml"}),
        (["data", "check", "voc_2012_train"], {"voc_2012_train", "voc_2012_trainval"}),
        (["eval", "SOLVER.BASE"], {"SOLVER.BASE_LR", "SOLVER.BASE_LR_END"}),
        (["data", "convert", "--to", "co"], {"coco"}),
    ],
)
def test_bash_offers_what_begins_alike(words, offered, tmp_path, script):
    listed = " ".join(["d2lite", *words])
    code = (
        f"source {script}\nCOMP_WORDS=({listed})\nCOMP_CWORD={len(words)}\n"
        '_shtab_d2lite 2>/dev/null\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    ended = subprocess.run([BASH, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert set(ended.stdout.split()) == offered, ended.stderr


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "d2lite.bash"
    path.write_text(completion_script(whole_parser(), "bash"))
    return path


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_their_script(shell):
    text = completion_script(whole_parser(), shell)
    assert "analyze-model" in text
    assert ("quick_start.yaml" in text) == (shell == "zsh")
