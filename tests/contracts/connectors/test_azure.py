"""What every connector promises, asked of each method against a real server of Blob Storage.

Entra and the metadata services, for which there is no server, are doubles.
"""

import pytest

from agent.testing.connectors import Case, ConnectorContract
from tests.clouds.azure.lab import METHODS, azure_lab, use


class TestAzure(ConnectorContract):
    """Each method, against a real server."""

    @pytest.fixture(params=METHODS)
    async def case(self, request, azurite, certificate_authority, monkeypatch, tmp_path):
        async with azure_lab(azurite, certificate_authority, monkeypatch, tmp_path) as lab:
            yield Case(lab.connect(request.param), use, lab.seen, METHODS[request.param][1])
