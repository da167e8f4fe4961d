"""The version of this program; `pyproject.toml` has to say the same, and a test sees to it."""

VERSION = "0.1.0"
