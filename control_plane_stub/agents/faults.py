"""Scripted faults on agents' links: nowhere else we misbehave on purpose."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from agent.protocol.close_reasons import CLOSE_POLICIES
from agent.protocol.messages import Name
from control_plane_stub.agents.garbage import Frame, GarbageName, garbage

FaultName = Literal["cut", "stall", "refuse", "delay", "duplicate", "reorder", "garbage"]
_NOT_NUMBERED = ('{"type":"welcome"', '{"type":"ack"', '{"type":"ping"', '{"type":"pong"')


class Fault(BaseModel):
    """What to do to the links of one agent.

    ``cut`` aborts the connection, each time after so many bytes or frames; ``stall`` neither reads
    nor writes for *seconds*; ``refuse`` turns connects away; ``delay`` holds each outgoing frame
    back for *seconds*; ``duplicate`` sends numbered frames twice; ``reorder`` swaps two of them;
    ``garbage`` sends a frame that no control plane may send.
    """

    model_config = ConfigDict(extra="forbid")

    agent: Name
    fault: FaultName
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    after_bytes: Annotated[int, Field(ge=0)] = 0
    after_frames: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    direction: Literal["in", "out", "both"] = "both"
    reason: Literal[tuple(CLOSE_POLICIES)] = "overloaded"  # type: ignore[valid-type]
    retry_after: Annotated[float, Field(ge=0, le=3600)] | None = None
    garbage: GarbageName = "malformed"


class ScriptedFault:
    """A fault at work; *left* counts down to its end."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.id = number
        self.fault = fault
        self.left = fault.count
        self.bytes = self.frames = 0
        self.held: Frame | None = None
        self.until: float | None = None

    def concerns(self, direction: str) -> bool:
        return self.at_work and self.fault.direction in (direction, "both")

    @property
    def at_work(self) -> bool:
        return self.left > 0 or self.until is not None

    def count_frame(self, frame: object) -> bool:
        """Count *frame*; True when that was the last one before the fault strikes."""
        self.bytes += len(frame) if isinstance(frame, str | bytes) else 0
        self.frames += 1
        if self.bytes < self.fault.after_bytes or self.frames < self.fault.after_frames:
            return False
        self.bytes = self.frames = 0
        self.left -= 1
        return True


class Victim(Protocol):
    """The link that suffers."""

    def abort(self) -> None:
        """Cut the connection without a close frame."""

    async def inject(self, frame: Frame) -> None:
        """Send *frame* as it is."""


class LinkFaults:
    """The faults of one link, asked for each of its frames while there are any."""

    def __init__(self, agent: str, victim: Victim | None, scripts: list[ScriptedFault]) -> None:
        self.agent = agent
        self._victim = victim
        self._scripts = scripts
        self._detach: Callable[[LinkFaults], None] | None = None

    @property
    def active(self) -> bool:
        return bool(self._scripts)

    def strike(self, script: ScriptedFault) -> None:
        """Cut or stall at once, where the fault waits for no frame."""
        fault = script.fault
        if fault.after_bytes or fault.after_frames or not script.left:
            return
        if fault.fault == "cut":
            script.left -= 1
            self._abort()
        elif fault.fault == "stall":
            script.left -= 1
            script.until = asyncio.get_running_loop().time() + fault.seconds

    def on_detach(self, callback: "Callable[[LinkFaults], None]") -> None:
        self._detach = callback

    def detach(self, _: Victim) -> None:
        """The link is gone."""
        if self._detach is not None:
            self._detach(self)

    async def incoming(self, frame: object) -> None:
        """The link received *frame*; waits as long as a fault wants."""
        for script in self._of("in"):
            if script.fault.fault in ("cut", "stall"):
                await self._interrupt(script, frame)

    async def outgoing(self, frame: Frame) -> None:
        """Send *frame* through its link, or what the faults make of it."""
        frames = [frame]
        for script in self._of("out"):
            frames = await self._changed(script, frames)
        assert self._victim is not None
        for changed in frames:
            await self._victim.inject(changed)

    async def _changed(self, script: ScriptedFault, frames: list[Frame]) -> list[Frame]:
        match script.fault.fault:
            case "cut" | "stall":
                await self._interrupt(script, frames[-1])
            case "delay":
                await asyncio.sleep(script.fault.seconds)
                script.left -= 1
            case "duplicate":
                return _duplicated(script, frames)
            case "reorder":
                return _reordered(script, frames)
            case "garbage":
                script.left -= 1
                return [*frames, garbage(script.fault.garbage)]
            case "refuse":
                return frames
        return frames

    async def _interrupt(self, script: ScriptedFault, frame: object) -> None:
        now = asyncio.get_running_loop().time()
        if script.until is None and script.count_frame(frame):
            if script.fault.fault == "cut":
                self._abort()
                return
            script.until = now + script.fault.seconds
        if script.until is not None:
            # Reader and writer wait for the same moment.
            await asyncio.sleep(script.until - now)
            script.until = None

    def _of(self, direction: str) -> list[ScriptedFault]:
        self._scripts[:] = [script for script in self._scripts if script.at_work]
        return [script for script in self._scripts if script.concerns(direction)]

    def _abort(self) -> None:
        if self._victim is not None:
            self._victim.abort()


class Faults:
    """Every fault that was asked for, and the links they strike."""

    of_nobody = LinkFaults("", None, [])

    def __init__(self) -> None:
        self._numbers = count(1)
        self._scripts: dict[str, list[ScriptedFault]] = {}
        self._links: list[LinkFaults] = []

    def add(self, fault: Fault) -> ScriptedFault:
        """Script *fault* for the links of its agent, those that are up and those to come."""
        script = ScriptedFault(next(self._numbers), fault)
        self._scripts.setdefault(fault.agent, []).append(script)
        for link in list(self._links):
            if link.agent == fault.agent and script.left > 0:
                link.strike(script)
        return script

    def all(self) -> list[ScriptedFault]:
        """Return the faults that are not used up."""
        return [one for scripts in self._scripts.values() for one in scripts if one.at_work]

    def clear(self, agent: str | None = None) -> None:
        """End the faults of *agent*, or of all, on links that are up as well."""
        for name, scripts in self._scripts.items():
            if agent in (None, name):
                scripts.clear()

    def of(self, agent: str, victim: Victim) -> LinkFaults:
        """Return the faults of a new link of *agent*."""
        link = LinkFaults(agent, victim, self._scripts.setdefault(agent, []))
        self._links.append(link)
        link.on_detach(self._forget)
        return link

    def refusal(self, agent: str) -> Fault | None:
        """Return the fault that turns this connect of *agent* away, if any, and count it."""
        for script in self._scripts.get(agent, ()):
            if script.fault.fault == "refuse" and script.left > 0:
                script.left -= 1
                return script.fault
        return None

    def _forget(self, link: LinkFaults) -> None:
        if link in self._links:
            self._links.remove(link)


def _is_numbered(frame: Frame) -> bool:
    return isinstance(frame, bytes) or not frame.startswith(_NOT_NUMBERED)


def _duplicated(script: ScriptedFault, frames: list[Frame]) -> list[Frame]:
    if not _is_numbered(frames[-1]):
        return frames
    script.left -= 1
    return [*frames, frames[-1]]


def _reordered(script: ScriptedFault, frames: list[Frame]) -> list[Frame]:
    if not _is_numbered(frames[-1]):
        return frames
    if script.held is None:
        script.held = frames[-1]
        return frames[:-1]
    held, script.held = script.held, None
    script.left -= 1
    return [*frames, held]
