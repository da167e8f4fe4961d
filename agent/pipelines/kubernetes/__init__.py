"""Runs pipelines as Jobs of a Kubernetes cluster."""
