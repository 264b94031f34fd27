"""Where results come from: the git commit of the code, and a hash of the configuration."""

import hashlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

# The folder of a run is not part of its recipe.
_FOLDER_LINE = re.compile(r"^\s*(OUTPUT_DIR|output_dir):.*\n", re.MULTILINE)
# Seconds; a repository on a slow network must not hold up a training.
_TIMEOUT = 5.0


def config_hash(text: str) -> str:
    """12 hexadecimal digits that two configs share if they differ in the output folder alone.

    Args:
        text: the config as YAML.
    """
    return hashlib.sha256(_FOLDER_LINE.sub("", text).encode()).hexdigest()[:12]


def command_line() -> str:
    """The command of this process, quoted so that it can be copied into a shell."""
    program, *words = sys.argv or [""]
    path = Path(program)
    if path.name == "__main__.py":
        return f"python -m {path.parent.name} {shlex.join(words)}".rstrip()
    # An installed command is called by its name, a script by its path.
    is_script = not path.name or bool(path.suffix)
    return shlex.join([program if is_script else path.name, *words])


def git_commit(folder: Path) -> str:
    """The commit that is checked out where a folder is, with "+changes" if files differ from it.

    Args:
        folder: in a repository or not.

    Returns:
        Empty if it is not in a repository, or git is not there.
    """
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    is_changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if is_changed else commit


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""
