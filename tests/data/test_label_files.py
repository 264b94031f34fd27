"""Label files are read in the encoding that they are written in."""

import json

import pytest

from d2lite.data.datasets.label_files import decode, read_json, read_text, read_xml
from d2lite.utils.errors import DataError, MissingFileError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gbk"])
def test_json_and_text_are_read_in_any_of_the_common_encodings(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"name": "山田"}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"name": "山田"}
    assert read_text(path) == '{"name": "山田"}'


def test_a_declared_encoding_comes_before_utf_8():
    """These two characters of GBK are valid UTF-8, too."""
    data = "联通".encode("gbk")
    assert decode(data, "gbk") == "联通"
    assert decode(data[:2] + b"\xff\xff", "no-such-encoding")


@pytest.mark.parametrize("read", [read_text, read_json, read_xml])
def test_a_file_that_is_not_there_is_named(tmp_path, read):
    with pytest.raises(MissingFileError, match=r"a\.x cannot be read: No such file"):
        read(tmp_path / "a.x")


def test_what_is_not_json_or_xml_is_named(tmp_path):
    path = tmp_path / "a.x"
    for text in ("", "<a>", "[" * 100_000, "\0\0\0\0"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"a\.x is not valid JSON"):
            read_json(path)
        with pytest.raises(DataError, match=r"a\.x is not valid XML"):
            read_xml(path)
