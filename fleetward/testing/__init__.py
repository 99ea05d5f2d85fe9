"""Testing: what our tests and our users' tests build fleets from."""
