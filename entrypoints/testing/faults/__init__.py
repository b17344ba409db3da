"""Decorators of the ports that fail on purpose: no mocks, the adapter behind them is a real one."""
