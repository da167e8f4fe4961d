"""Artifact versions of a ZenML server; their bytes lie in other stores."""
