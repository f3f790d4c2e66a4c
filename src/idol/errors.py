"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake of the user's, told in one line.

    The command line prints it and ends with exit code 2.

    Args:
        argument: What is wrong: an option (`--person`), a config key or a file.
        found: What was found there.
        hint: What to do about it.
    """

    def __init__(self, argument: str, found: str, hint: str) -> None:
        self.argument, self.found, self.hint = argument, found, hint
        super().__init__(" ".join(f"{argument}: {found}; {hint}".split()))
