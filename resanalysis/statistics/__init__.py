"""Numbers in, numbers out: intervals, tests, trends. No torch."""
