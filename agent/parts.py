"""The customer's systems, built from one configuration, and swapped whole for those of the next."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.artifact_uri import ArtifactUri
from agent.artifacts.open import open_artifact_stores
from agent.closing import close_guarded
from agent.config.artifact_stores import ArtifactStore
from agent.config.settings import Settings
from agent.connectors.open import open_connectors
from agent.guard.open import open_policy
from agent.jobs.kind import Tools
from agent.pipelines.open import open_pipeline_runners
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from agent.secrets.resolver import SecretResolver

MIN_BLOCK = 64 * 1024
MAX_BLOCK = 1024 * 1024
BLOCKS_PER_JOB = 8
"""Being read, waiting, hashed and sent, the store's own; and what the allocator keeps for each."""
MIN_SEGMENT = 256 * 1024
MAX_SEGMENT = 4 * 1024 * 1024
SEGMENTS_PER_JOB = 4
"""Two that an upload keeps until they are in safe hands; the other half is for its blocks."""


@dataclass(slots=True)
class Readers:
    """Jobs that hold the tools now, and what each may hold of *memory*, in bytes.

    Each takes its share as it begins. A job alone reads in large blocks; of many, the later ones
    take smaller ones, and all together stay within the memory.
    """

    memory: int
    count: int = 0

    def block_bytes(self) -> int:
        """Return how much the next transfer reads at once."""
        share = self.memory // (max(1, self.count) * BLOCKS_PER_JOB)
        return max(MIN_BLOCK, min(MAX_BLOCK, share))

    def segment_bytes(self) -> int:
        """Return how long a segment of an upload may be that begins now."""
        share = self.memory // (max(1, self.count) * SEGMENTS_PER_JOB)
        return max(MIN_SEGMENT, min(MAX_SEGMENT, share))


@dataclass(slots=True)
class Parts:
    """Opening does no I/O: a store is first asked when a job needs it."""

    tools: Tools
    secrets: SecretResolver
    readers: Readers

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        on_secret: Callable[[Secret], None],
        on_use: Callable[[str], None],
    ) -> Self:
        """Build everything that *settings* names.

        Raises:
            UsageError: A part can't be built from its settings.
        """
        secrets = open_secret_stores(settings.secret_stores, on_secret=on_secret, on_use=on_use)
        connectors = open_connectors(
            settings.connectors, secrets, readable=readable_by(settings.artifact_stores)
        )
        readers = Readers(settings.agent.buffer_memory)
        tools = Tools(
            artifacts=open_artifact_stores(
                settings.artifact_stores, connectors, block_bytes=readers.block_bytes
            ),
            connectors=connectors,
            pipelines=open_pipeline_runners(
                settings.pipelines,
                state_dir=Path(settings.agent.state_dir),
                hold=secrets.hold,
                connectors=connectors,
                secrets=secrets,
            ),
            decide=open_policy(settings.policy).decide,
        )
        return cls(tools, secrets, readers)

    @property
    def in_use(self) -> bool:
        """Whether a job uses the tools, or a run depends on secrets that are renewed for it."""
        return self.readers.count > 0 or self.secrets.holding

    async def close(self) -> None:
        """Let go of everything, also when some of it fails; runs of pipelines go on."""
        await close_guarded("pipelines", "", self.tools.pipelines.close)
        await self.tools.artifacts.close()
        for name, connector in self.tools.connectors.items():
            await close_guarded("connector", name, connector.close)
        await close_guarded("secret stores", "", self.secrets.close)


def readable_by(stores: Sequence[ArtifactStore]) -> dict[str, list[ArtifactUri]]:
    """Return for each connector the roots that are read with it."""
    roots: dict[str, list[ArtifactUri]] = {}
    for store in stores:
        if store.connector is not None:
            roots.setdefault(store.connector, []).append(store.root)
    return roots


class PartsOfNow:
    """Lends the parts of the present configuration; replaced ones are ready to close when given
    back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._retired: list[Parts] = []

    @contextmanager
    def lend(self) -> Iterator[Tools]:
        """Lend the present tools; a job keeps them to its end, whatever is reloaded meanwhile."""
        parts = self._parts
        parts.readers.count += 1
        try:
            yield parts.tools
        finally:
            parts.readers.count -= 1

    def segment_bytes(self) -> int:
        """Return how long a segment of an upload may be that begins now."""
        return self._parts.readers.segment_bytes()

    def replace(self, parts: Parts) -> None:
        """Lend *parts* from now on."""
        self._retired.append(self._parts)
        self._parts = parts

    async def close_unused(self) -> None:
        """Close replaced parts that no job and no run needs any more; idempotent."""
        for unused in [parts for parts in self._retired if not parts.in_use]:
            await unused.close()
            self._retired = [parts for parts in self._retired if parts is not unused]

    async def close(self) -> None:
        """Close everything."""
        for parts in (*self._retired, self._parts):
            await parts.close()
