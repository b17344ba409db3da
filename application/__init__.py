"""Use cases: the operations of the system, in terms of ports."""
