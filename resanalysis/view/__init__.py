"""Any trained residual model → its unraveled view, found in the captured graph and checked against it."""

from resanalysis.view.errors import UnravelError
from resanalysis.view.part import check_same_output
from resanalysis.view.whole import unravel

__all__ = ["UnravelError", "check_same_output", "unravel"]
