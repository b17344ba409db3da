"""What the application needs from the outside, in its own words.

One module a port: a small protocol whose docstrings specify atomicity, order, errors and units,
and which the contract suites of the testing kit quote. Values go in and come out; no technology
shows through.
"""
