"""Logging in to Kubernetes clusters, and asking them; the only importer of kubernetes_asyncio."""
