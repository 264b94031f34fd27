"""Numbers of command lines outside of their range end the command while its words are read."""

import pytest

from d2lite.commands import benchmark, export, predict, serve


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (predict, ["run", "a.jpg", "--batch-size", "0"]),
        (predict, ["run", "a.mp4", "--max-frames", "-3"]),
        (serve, ["run", "--queue", "1.5"]),
        (serve, ["run", "--max-mb", "nan"]),
        (serve, ["run", "--max-megapixels", "inf"]),
        (benchmark, ["--repeats", "0"]),
        (export, ["--num-images", "two"]),
    ],
)
def test_a_number_out_of_range_is_named_with_its_option(command, words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.build_parser().parse_args(words)
    assert ended.value.code == 2
    option = next(word for word in words if word.startswith("--"))
    assert f"argument {option}" in (said := capsys.readouterr().err)
    assert "is not a" in said


def test_numbers_within_the_range_are_read():
    args = serve.build_parser().parse_args(["run", "--max-mb", "0.5", "--batch-size", "1"])
    assert (args.max_mb, args.batch_size) == (0.5, 1)
