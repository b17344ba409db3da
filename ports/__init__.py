"""What the application needs from outside, one module a port. The docstrings are the
specification: the contract suites of `traffic_storage.testing` quote them.
"""
