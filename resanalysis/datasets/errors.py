"""What goes wrong with data."""


class DataError(ValueError):
    """Data that cannot be used: what was wrong, where, and what to do."""
