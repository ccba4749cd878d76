"""What all tests of commands share."""

from tests.captures import captured_once
from tests.drawing import laid_out

__all__ = ["captured_once", "laid_out"]
