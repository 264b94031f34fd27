"""Words of messages that depend on numbers."""


def counted(count: int, word: str) -> str:
    """A number and what it counts, such as "1 class" and "2 classes".

    Args:
        count: of the things.
        word: for one of them.
    """
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count} {word}{ending}"
