"""What all tests of runs share."""

from tests.captures import captured_once

__all__ = ["captured_once"]
