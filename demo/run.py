"""The story, told with real servers: a cloud fetches an artifact and triggers a pipeline.

`make demo` runs it; with KEEP=1 in the environment everything is left running at the end.
"""

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo.proof import forms, prove_the_search_works, traces
from demo.world import AGENT, World

ARTIFACT_BYTES = 32 * 1024 * 1024
README = b"# Churn model\n\nTrained on 2026-11-01, AUC 0.91.\n"


def main() -> int:
    """Tell the story; return 0 when everything was proved."""
    directory = Path(tempfile.mkdtemp(prefix="cloud-agent-demo-"))
    world = World(directory)
    try:
        tell(world)
        if os.environ.get("KEEP"):
            keep(world)
    finally:
        world.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def tell(world: World) -> None:
    """Run the story and prove its end.

    Raises:
        AssertionError: The bytes were wrong, or a credential left the customer's side.
    """
    content = secrets.token_bytes(ARTIFACT_BYTES)
    with step("The customer's side: an S3 store and a vault, both of which check credentials"):
        world.start_stores()
        model = world.put("model.bin", content)
        card = world.put("README.md", README)
        world.put("pii/customers.csv", b"name,mail\n")
    with step("The cloud's side: a control plane; it makes a one-time join token"):
        world.start_plane()
        world.enroll_later()
    with step("The agent makes its key, registers the public half, and dials out"):
        world.write_config()
        world.start_agent()
    say(world.cli("agents").stdout)

    received = world.directory / "received.bin"
    with step(f"The cloud asks for {model}"):
        say(world.cli("submit", "fetch-artifact", "--agent", AGENT, "-p", f"uri={model}",
                      "-o", str(received)).stdout)  # fmt: skip
    with step(f"A user opens {card} on the dashboard, {world.url}/"):
        say(shown_on_the_dashboard(world, card))
    with step("It asks for something that the customer's policy denies"):
        denied = world.cli("submit", "fetch-artifact", "--agent", AGENT, "-p",
                           f"uri={model.replace('model.bin', 'pii/customers.csv')}",
                           check=False)  # fmt: skip
        say(denied.stdout + denied.stderr)
    with step("It triggers a pipeline and follows its log; the pipeline prints its own secret"):
        followed = world.cli("submit", "trigger-pipeline", "--agent", AGENT,
                             "-p", "pipeline=train-churn", "-p", 'parameters={"epochs": 4}',
                             "-p", "wait=true", "--follow")  # fmt: skip
        say(followed.stdout)
    prove(world, received, content, denied_code=denied.returncode, log=followed.stdout)


def shown_on_the_dashboard(world: World, uri: str) -> str:
    """Do what the page does when a user opens an artifact; return the text it shows."""
    page = world.page("/")
    assert "<title>" in page, "the dashboard page is not there"
    fetch = {"agent": AGENT, "kind": "fetch-artifact", "parameters": {"uri": uri}}
    job = world.ended(world.rest("/jobs", fetch)["id"])
    return world.page(f"/api/v1/jobs/{job['id']}/content")


def prove(world: World, received: Path, content: bytes, *, denied_code: int, log: str) -> None:
    """Compare the bytes, and look for credentials in everything that left the customer's side."""
    with step("Proof: the bytes are right"):
        expected = hashlib.sha256(content).hexdigest()
        actual = hashlib.sha256(received.read_bytes()).hexdigest()
        say(f"SHA-256 of the object    {expected}\nSHA-256 at the receiver  {actual}")
        assert expected == actual
        assert denied_code == 3, "the denied artifact was not refused"
        assert "epoch 4 of 4" in log, "the pipeline's log did not arrive"
    with step("Proof: no credential crossed the wire or reached a log"):
        prove_the_search_works(world.credentials, world.directory / "scratch")
        places = list(_what_left(world))
        found = traces(world.credentials, places)
        size = sum(place.stat().st_size for place in places)
        names = ", ".join(world.credentials)
        say(f"searched {size:,} bytes in {len(places)} files for {names},\n"
            f"each in {len(list(forms('x')))} forms: {len(found)} found")  # fmt: skip
        assert world.frames.stat().st_size > ARTIFACT_BYTES, "the frames were not recorded"
        assert not found, found


def keep(world: World) -> None:
    """Leave everything running until the user has seen enough."""
    print(f"\nDashboard: {world.url}/#token={world.api_token}\nCtrl-C ends it all.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


def _what_left(world: World) -> Iterator[Path]:
    """Yield every frame, log and file that a credential could have reached."""
    yield world.frames
    yield from world.directory.glob("*.log")
    for state in (world.plane_state, world.agent_state):
        yield from (path for path in state.rglob("*") if path.is_file())


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print *title*, and how long it took."""
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)
    started = time.monotonic()
    yield
    print(f"  ({time.monotonic() - started:.1f} s)", flush=True)


def say(text: str) -> None:
    """Print *text*, indented."""
    for line in text.strip().splitlines():
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
