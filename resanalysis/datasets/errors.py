"""What goes wrong with data."""

from resanalysis.errors import ResanalysisError


class DataError(ResanalysisError):
    """Data that cannot be used: what was wrong, where, and what to do."""
