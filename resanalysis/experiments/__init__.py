"""One file per experiment: protocol in, tidy table out."""
