"""The tests that every store, secret store and connector should pass, ours and those of plug-ins.

A plug-in's author derives a test class from a contract and gives it the fixture it asks for:

    class TestMyStore(ArtifactStoreContract):
        @pytest.fixture
        async def place(self) -> AsyncIterator[Place]: ...

Needs the extra ``testing``: pytest, and pytest-asyncio with ``asyncio_mode = "auto"``.
"""

import pytest

pytest.register_assert_rewrite(
    "agent.testing.artifact_stores",
    "agent.testing.catalogs",
    "agent.testing.connectors",
    "agent.testing.secret_stores",
)
