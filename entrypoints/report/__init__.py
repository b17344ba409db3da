"""Analyses as pages with charts."""
