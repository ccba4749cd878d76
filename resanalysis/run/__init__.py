"""One analysis from names to files."""
