"""The one exception that means: the caller can correct this."""

import re
from collections.abc import Callable

_REFERENCE = re.compile(r"`(\w+)(?:=([^`]+))?`")


class UserError(ValueError):
    """A value that cannot be used, reported in one line: what it is, what was found, what to do.

    The command line prints the line with the argument's option in place of its name, and exits with code 2;
    the web page shows the label of the argument's field.

    Attributes:
        argument: Name of the Python argument (`seed`), of a config key (`model.init`), or a file's path.
        found: What was found there.
        remedy: What to do about it. Other arguments stand in backquotes, with or without a value:
            "pass `overwrite=True`".
    """

    def __init__(self, argument: str, found: str, remedy: str) -> None:
        self.argument, self.found, self.remedy = argument, found, remedy
        super().__init__(" ".join(f"{argument}: {found}; {remedy}".split()))


def replace_references(text: str, write: Callable[[str, str | None], str]) -> str:
    """Replace the arguments that an error or a note mentions by what another interface calls them.

    Args:
        text: Arguments stand in it as `` `name` `` or `` `name=value` ``.
        write: Given name and value (or None), returns the replacement.
    """
    return _REFERENCE.sub(lambda match: write(match[1], match[2]), text)
