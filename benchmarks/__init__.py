"""How fast it is, against the same work written by hand.

`python -m benchmarks` prints a row a job. Each row is a ratio of interleaved rounds in one run:
every contender lives in a process of its own and waits while another is measured, so that what
the machine does meanwhile hits all of them alike. Nothing here fails for being slow.
"""
