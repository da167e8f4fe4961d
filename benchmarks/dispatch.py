"""Bar 9: from the control plane's answer to the first deed of the job's handler.

The deed is a request to a store that lives in this process, so it is timed by the same clock; the
time that the request itself takes counts against us.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.asking import Asker, spread
from benchmarks.stage import PROBE, BenchWorld
from demo.world import AGENT

_ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: "1"\r\n'
    b"Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT\r\n\r\nx"
)


class ProbeStore:
    """Answers every GET with one byte and notes when it came."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def serve(self) -> None:
        """Serve until closed; connections are kept."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop to listen."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                with self.changed:
                    self.arrived.append(time.monotonic())
                    self.changed.notify_all()
                connection.sendall(_ANSWER)


@contextmanager
def probe_store() -> Iterator[ProbeStore]:
    """Run a `ProbeStore` in a thread."""
    store = ProbeStore()
    thread = threading.Thread(target=store.serve)
    thread.start()
    try:
        yield store
    finally:
        store.close()
        thread.join()


def measure_dispatch(world: BenchWorld, store: ProbeStore, *, jobs: int) -> dict[str, object]:
    """Submit *jobs* one after the other; the first is not counted."""
    asker = Asker(world)
    answered, asked = zip(*(_one(asker, store) for _ in range(jobs + 1)), strict=True)
    asker.close()
    return {"from the answer": spread(answered[1:]), "from the request": spread(asked[1:])}


def _one(asker: Asker, store: ProbeStore) -> tuple[float, float]:
    before = len(store.arrived)
    job = {"agent": AGENT, "kind": "fetch-artifact", "parameters": {"uri": f"{PROBE}/a"}}
    asked = time.monotonic()
    name = asker.rest("/jobs", job)["id"]
    answered = time.monotonic()
    with store.changed:
        came = store.changed.wait_for(lambda: len(store.arrived) > before, timeout=10)
    assert came, "the agent did not ask the store"
    while asker.rest(f"/jobs/{name}")["state"] != "succeeded":
        time.sleep(0.002)
    arrived = store.arrived[before]
    return max(0.0, arrived - answered), arrived - asked
