"""What all tests of commands share."""

from tests.captures import captured_once

__all__ = ["captured_once"]
