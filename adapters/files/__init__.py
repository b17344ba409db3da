"""Durable files: complete or absent, never reached through a symbolic link.

Shared by the adapters; of the ports it uses only the errors and the bodies.
"""
