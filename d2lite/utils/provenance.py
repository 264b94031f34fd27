"""Where results come from: the git commit of the code, and a hash of the configuration."""

import hashlib
import re
import subprocess
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
