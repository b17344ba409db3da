"""What every adapter of a port promises, as test classes to inherit from. Needs the extra
`testing` (pytest, pytest-asyncio, hypothesis).
"""
