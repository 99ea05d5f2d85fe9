"""Bench: what `make bench` measures; one file per row of the table it prints."""
