"""Consumers that cost little CPU: curl for large content, wrk for many small requests."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.programs import program

_REPORT = """\
done = function(summary, latency, requests)
  local e = summary.errors
  local format = '\\nJSON {"requests": %d, "us": %d, "p50": %f, "p99": %f, "errors": %d}\\n'
  io.write(string.format(format,
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Download:
    """What a consumer asks for."""

    url: str
    headers: Mapping[str, str]
    body: str | None = None
    """None asks by GET."""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """How many small requests went through; latencies in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


def curl_command(download: Download) -> list[str | Path]:
    """Return what downloads to nowhere and prints status, bytes and seconds."""
    command: list[str | Path] = [
        program("curl"), "-sS", "-o", "/dev/null",
        "-w", "%{http_code} %{size_download} %{time_total}\\n",
    ]  # fmt: skip
    for name, value in download.headers.items():
        command += ["-H", f"{name}: {value}"]
    if download.body is not None:
        command += ["-d", download.body]
    if download.ca_file is not None:
        command += ["--cacert", download.ca_file]
    return [*command, download.url]


def gigabytes_per_second(download: Download, *, size: int) -> float:
    """Download once and return the speed.

    Raises:
        AssertionError: It was not all of the *size* bytes.
    """
    done = subprocess.run(curl_command(download), capture_output=True, text=True, check=False)
    status, got, seconds = done.stdout.split()
    assert (status, int(got)) == ("200", size), f"{download.url}: {done.stdout} {done.stderr}"
    return size / float(seconds) / 1e9


def wrk(download: Download, *, in_flight: int, seconds: int, directory: Path) -> Speed:
    """Ask again and again on *in_flight* connections.

    Raises:
        AssertionError: A request failed.
    """
    script = directory / "wrk.lua"
    script.write_text(_script(download))
    done = subprocess.run(
        [
            program("wrk"), "-t1", f"-c{in_flight}", f"-d{seconds}s", "--timeout", "10s",
            "-s", script, download.url,
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.rsplit("JSON ", 1)[1])
    assert told["errors"] == 0, done.stdout
    return Speed(
        per_second=told["requests"] / told["us"] * 1e6,
        p50_ms=told["p50"] / 1e3,
        p99_ms=told["p99"] / 1e3,
    )


def _script(download: Download) -> str:
    lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}"
             for name, value in download.headers.items()]  # fmt: skip
    if download.body is not None:
        lines += ['wrk.method = "POST"', f"wrk.body = [[{download.body}]]"]
    return "\n".join(lines) + "\n" + _REPORT
