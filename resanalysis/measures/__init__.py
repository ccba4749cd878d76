"""Quantities read off a network: what a part adds, how large it is, what it costs."""
