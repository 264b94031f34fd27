"""What tests of files of configurations share."""

import pytest


@pytest.fixture
def write(tmp_path):
    """A function that writes a text into a file of the test's folder; the path of the file."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file
