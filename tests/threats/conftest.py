"""One world for all attacks of a module; each leaves the agent running as it was configured."""

from collections.abc import Iterator

import pytest

from tests.threats.fortress import Fortress


@pytest.fixture(scope="package")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """Real S3, real vault, control plane and agent, all started; shared by the whole folder."""
    fortress = Fortress(tmp_path_factory.mktemp("fortress"))
    try:
        fortress.start_stores()
        fortress.start_plane()
        fortress.enroll_later()
        fortress.write_config()
        fortress.start_agent()
        yield fortress
    finally:
        fortress.stop()
