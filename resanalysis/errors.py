"""The error that is the user's, told apart from our own mistakes by its type."""


class ResanalysisError(ValueError):
    """What a user asked for cannot be done; the text says what, where, what was found and what to do.

    Every check of ours raises it. Whatever else reaches the command line is a bug of ours and is
    reported as one.
    """
