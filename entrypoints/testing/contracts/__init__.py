"""Contract suites: test classes that check the promises of a port for any adapter.

The author of an adapter inherits from them. The docstring of a test names the port's method and the
promise that the test checks. The suites need the extra `testing` (pytest, pytest-asyncio,
hypothesis).
"""
