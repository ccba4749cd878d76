"""One file per table: ``STEM.py`` holds ``STEM(table)``, which draws it, its title, headlines and reading."""
