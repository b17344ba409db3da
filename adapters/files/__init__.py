"""Files as the durable adapters need them: whole or absent, never through a symbolic link.

Neutral ground below the adapters: knows no port but the words of errors and bodies.
"""
