"""The whole service against a dictionary model, in any order of operations and faults."""
