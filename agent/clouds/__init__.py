"""Logging in to clouds: one folder each, the only importers of what the clouds' SDKs log in with.

Secret stores and connectors stand above, and both log in this way.
"""
