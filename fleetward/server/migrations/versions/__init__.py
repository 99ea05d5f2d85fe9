"""One file per step, numbered in order: `0001_first.py`, `0002_…`. Written steps are never changed after a release."""
