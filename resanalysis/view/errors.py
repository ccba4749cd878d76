"""What goes wrong when a model has no unraveled view."""

from resanalysis.errors import ResanalysisError


class UnravelError(ResanalysisError):
    """The model cannot be captured, has no chain of residual units, or its view does not match it."""
