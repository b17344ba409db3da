"""The contract suites, run on every adapter with real servers."""
