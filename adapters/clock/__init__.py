"""Adapters of the ports Clock and Ids."""
