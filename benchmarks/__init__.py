"""Benchmarks: the speed of Traffic Storage relative to the same work written by hand.

`python -m benchmarks` prints one row per job. Each value is a ratio of interleaved rounds of one
run. Every contender runs in its own process and waits while another is measured, so that other load
of the machine affects all alike. A slow result is reported and never fails the run.
"""
