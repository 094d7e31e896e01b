"""The one exception that users are meant to see."""


class InputError(ValueError):
    """Bad input: one sentence that says what was expected, what was got and what to do.

    The command line prints it and exits with code 2; no file is left half written.
    """
