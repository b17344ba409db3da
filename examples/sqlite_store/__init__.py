"""Example of a store adapter: how to write and test one for Traffic Storage."""
