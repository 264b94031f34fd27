"""Setting: what one rule of a recipe decides, why, and how to decide it otherwise."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def _quoted(text: str) -> str:
    """A text as one word of a shell, in double quotes where these do."""
    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'


@dataclass(frozen=True)
class Setting:
    """The decision of one rule.

    Attributes:
        name: of the rule, a word or two.
        keys: keys of the configuration -> their values; the first one is shown as the way to pin.
        value: the decision, for people.
        evidence: the facts that it follows from.
    """

    name: str
    keys: Mapping[str, Any]
    value: str
    evidence: str

    def line(self) -> str:
        """Value, evidence and the option that pins it."""
        key, value = next(iter(self.keys.items()))
        text = str(value)
        pin = f"{key} {text if shlex.quote(text) == text else _quoted(text)}"
        return f"{self.name}: {self.value}, since {self.evidence} [pin: {pin}]"
