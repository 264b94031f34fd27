"""A program whose output is closed, full, or a pipe that has ended does its work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
from d2lite.utils.streams import guard_streams, report_failed_output
guard_streams()
for number in range(3000):
    print(f"line {number}", "\\N{SNOWMAN}", "\\udcff")
sys.stderr.write("a word\\n")
open(sys.argv[1], "w").write("done")
raise SystemExit(report_failed_output(0, log_file=sys.argv[2] if sys.argv[2:] else None))
"""


def run(tmp_path, redirection, *more, encoding="utf-8"):
    done = tmp_path / "done"
    words = [sys.executable, "-c", _PROGRAM, str(done), *more]
    shell = ["bash", "-c", f'"$@" {redirection}', "bash", *words]
    root = str(Path(__file__).parents[2])
    env = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "PYTHONIOENCODING": encoding}
    result = subprocess.run(shell, env=env, capture_output=True, text=True, timeout=60)
    assert done.read_text() == "done"
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    return result


@pytest.mark.parametrize(
    "redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&-", "2>/dev/full", "| head -n 1"]
)
def test_output_that_nobody_reads_is_no_failure(tmp_path, redirection):
    assert run(tmp_path, redirection).returncode == 0


def test_full_output_is_reported_where_it_was_the_result(tmp_path):
    result = run(tmp_path, ">/dev/full")
    assert result.returncode == 2
    assert "error: Standard output cannot be written (No space left on device)" in result.stderr


def test_full_output_is_a_note_where_a_log_file_has_the_lines(tmp_path):
    result = run(tmp_path, ">/dev/full", "out/log.txt")
    assert result.returncode == 0
    assert "see out/log.txt" in result.stderr


def test_characters_that_the_terminal_lacks_are_escaped(tmp_path):
    result = run(tmp_path, "", encoding="ascii")
    assert r"line 2999 \u2603 \udcff" in result.stdout


def shown_on_a_terminal(program, **variables):
    reader, writer = os.openpty()
    env = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin", **variables}
    command = [sys.executable, "-c", program]
    subprocess.run(command, env=env, stdout=writer, check=True, timeout=60)
    shown = os.read(reader, 1000).decode()
    os.close(reader), os.close(writer)
    return shown


def test_a_script_of_d2lite_run_commands_the_terminal():
    program = "from d2lite.utils.streams import guard_streams; guard_streams(); "
    program += r"print('\x1b[?25l\x1b[2J')"
    assert shown_on_a_terminal(program, D2LITE_RUN="1") == "\x1b[?25l\x1b[2J\r\n"


def test_a_name_does_not_command_the_terminal_and_colours_stay():
    program = "from d2lite.utils.streams import guard_streams; guard_streams(); print("
    program += r"'a\x1b[2J\x1b]0;title\x07\x9b5n.png', '\x1b[31mred\x1b[0m', 'b\tc\r\x1b[Kd')"
    shown = shown_on_a_terminal(program)
    assert shown == ("a\\x1b[2J\\x1b]0;title\\x07\\x9b5n.png \x1b[31mred\x1b[0m b\tc\r\x1b[Kd\r\n")
