"""Attacks on the log: each runs in a process of its own, since the log is one per process."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CANARY = "canary-7f3a"
SETUP = f"""
import asyncio, logging, sys, threading, warnings
import structlog
from agent.telemetry.logs import configure, get_logger
CANARY = {CANARY!r}
log = get_logger()
redact = lambda text: text.replace(CANARY, "***")
"""


def _logged(code: str, *, before: str = "configure('debug', 'json', redact)") -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"{SETUP}\n{before}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.stderr


def _events(code: str, **more: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _logged(code, **more).splitlines()]


class TestLines:
    def test_an_event_is_one_json_object(self) -> None:
        [event] = _events("log.info('link.up', n=1, ok=True, of=[1.5, None])")

        assert event.pop("timestamp").endswith("Z")
        assert event == {"level": "info", "event": "link.up", "n": 1, "ok": True, "of": [1.5, None]}

    def test_it_works_before_configure(self) -> None:
        [event] = _events("log.info('link.up'); log.debug('link.down')", before="")

        assert event["event"] == "link.up"

    def test_the_level_is_kept(self) -> None:
        code = "log.debug('a'); log.info('b'); log.warning('c'); log.error('d')"

        events = _events(code, before="configure('warning', 'json', redact)")

        assert [event["event"] for event in events] == ["c", "d"]

    def test_a_job_is_named_by_everything_that_is_logged_for_it(self) -> None:
        code = """
with structlog.contextvars.bound_contextvars(job="job-1"):
    log.info("job.ended")
    logging.getLogger("urllib3").warning("slow")
"""
        assert ["job-1", "job-1"] == [event["job"] for event in _events(code)]

    def test_odd_values_are_text(self) -> None:
        code = "log.info('x', a=b'\\xff', b={1: {2}}, c=float('nan'), d=range(2))"

        [event] = _events(code)

        assert (event["a"], event["b"], event["c"]) == ("\\xff", {"1": [2]}, "nan")
        assert event["d"] == "range(0, 2)"

    def test_a_deep_or_huge_value_is_cut(self) -> None:
        code = """
deep = []
for _ in range(500): deep = [deep]
log.info("x", deep=deep, huge="y" * 1_000_000)
"""
        assert len(_logged(code)) < 40_000


WAYS_IN = """
log.info(f'at {CANARY}')
log.info('x', value=CANARY)
log.info('x', **{CANARY: 1})
log.info('x', value={'a': [{CANARY: (CANARY, CANARY.encode())}]})
log.info('x', error=ValueError(CANARY))
log.info('%s', CANARY)
logging.getLogger('hvac').warning('at %s', CANARY)
logging.getLogger('hvac').error('at', exc_info=ValueError(CANARY))
warnings.warn(CANARY)
loop = asyncio.new_event_loop(); loop.call_exception_handler({'message': CANARY}); loop.close()
thread = threading.Thread(target=lambda: int(CANARY)); thread.start(); thread.join()
raise ValueError(CANARY)
"""


class TestSecrets:
    @pytest.mark.parametrize("format_", ["json", "console"])
    def test_no_way_in_gets_past_the_redactor(self, format_: str) -> None:
        """Every statement of WAYS_IN brings the canary into the log in another way."""
        text = _logged(WAYS_IN, before=f"configure('debug', {format_!r}, redact)")

        assert CANARY not in text
        assert text.count("***") >= len(WAYS_IN.strip().splitlines())

    def test_a_secret_that_json_would_escape_is_found(self) -> None:
        """Redaction comes before escaping, which would make another text of it."""
        code = "log.info('x', value='a\\n\"é', error=ValueError('a\\n\"é'))"

        text = _logged(
            code, before="configure('info', 'json', lambda t: t.replace('a\\n\"é', '***'))"
        )

        assert text.count("***") == 2

    def test_a_number_can_be_a_secret(self) -> None:
        [event] = _events(
            "log.info('x', pin=4711)",
            before="configure('info', 'json', lambda t: t.replace('4711', '***'))",
        )

        assert event["pin"] == "***"

    def test_tracebacks_show_no_variables(self) -> None:
        code = """
def fail():
    password = "".join(reversed("retnuh"))
    return 1 / 0
try: fail()
except ZeroDivisionError: log.exception("job.failed")
fail()
"""
        text = _logged(code)

        assert text.count("ZeroDivisionError: division by zero") == 2
        assert "hunter" not in text

    def test_causes_and_groups_are_shown_and_redacted(self) -> None:
        code = """
try:
    try: raise KeyError(CANARY)
    except KeyError as exc: raise ExceptionGroup("many", [OSError(CANARY), OSError("two")]) from exc
except ExceptionGroup: log.exception("job.failed")
"""
        [event] = _events(code)

        assert event["exception"].count("***") == 2
        assert "OSError: two" in event["exception"]
        assert "which led to:" in event["exception"]

    @pytest.mark.parametrize("how", ["log.exception('x')", "log.info('x', error=exc)"])
    def test_a_validation_error_does_not_repeat_its_input(self, how: str) -> None:
        code = f"""
from pydantic import BaseModel, SecretStr
class Login(BaseModel):
    password: SecretStr
    n: int
try: Login(password=["hunter" + "2"], n="hunter" + "3")
except ValueError as exc: {how}
"""
        [event] = _events(code)

        text = event.get("exception") or event["error"]
        assert "password: Input should be a valid string" in text
        assert "hunter" not in text.replace('"hunter" +', "")


LIBRARY_DEBUG = """
for name in ("", "websockets", "urllib3", "botocore", "boto3", "hvac", "requests", "asyncio"):
    logging.getLogger(name).setLevel("DEBUG")
"""


class TestLibraries:
    """The redactor does not know these secrets: holding the libraries at WARNING has to do."""

    def test_websockets_does_not_show_the_authorization_header(self) -> None:
        code = (
            LIBRARY_DEBUG
            + """
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
async def main():
    async with serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {CANARY}"}
        url = f"ws://127.0.0.1:{port}/?t={CANARY}"
        async with connect(url, additional_headers=headers, proxy=None) as ws:
            await ws.send(CANARY)
asyncio.run(main())
"""
        )
        assert CANARY in _logged(code, before="logging.basicConfig(level='DEBUG')")
        assert CANARY not in _logged(code, before="configure('debug', 'json', lambda t: t)")

    def test_botocore_and_urllib3_do_not_show_tokens_and_signatures(self) -> None:
        code = (
            LIBRARY_DEBUG
            + """
import boto3, botocore.config, urllib3
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
s3 = boto3.client("s3", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="k",
                  aws_secret_access_key="s", aws_session_token=CANARY)
s3.get_object(Bucket="b", Key="k")
urllib3.PoolManager().request("GET", f"{url}/?X-Amz-Signature={CANARY}")
"""
        )
        assert CANARY in _logged(code, before="logging.basicConfig(level='DEBUG')")
        assert CANARY not in _logged(code, before="configure('debug', 'json', lambda t: t)")

    def test_their_warnings_come_as_lines_of_ours(self) -> None:
        [event] = _events("logging.getLogger('urllib3.pool').warning('retry %d', 3)")

        assert (event["event"], event["logger"], event["message"]) == (
            "library.logged",
            "urllib3.pool",
            "retry 3",
        )

    def test_a_wrong_format_string_of_theirs_harms_nobody(self) -> None:
        [event] = _events("logging.getLogger('x').warning('%d %d', 'a')")

        assert event["message"] == "%d %d"


class TestInjection:
    EVIL = "a\\nINFO forged\\r\\x1b[2J\\x9b\\u202e\\u2028\\x00\\x7f"

    def test_json_has_no_control_characters(self) -> None:
        code = f"log.info('{self.EVIL}', **{{'{self.EVIL}': '{self.EVIL}'}})"

        text = _logged(code)

        assert text.isascii()
        assert text.removesuffix("\n").isprintable()

    def test_the_console_has_no_control_characters(self) -> None:
        code = f"""
log.info('{self.EVIL}', **{{'{self.EVIL}': '{self.EVIL}'}})
try: raise ValueError('{self.EVIL}')
except ValueError: log.exception('{self.EVIL}')
"""
        lines = _logged(code, before="configure('info', 'console', redact)").split("\n")

        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("INFO") for line in lines)


class TestStandardError:
    def test_a_closed_one_stops_nothing(self) -> None:
        code = (
            f"{SETUP}\nimport os\nconfigure('info', 'json', redact)\n"
            "os.close(2)\nlog.info('x')\nprint('done')"
        )

        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )

        assert (done.stdout, done.returncode) == ("done\n", 0)

    def test_one_that_was_never_there_is_not_mistaken_for_a_file(self, tmp_path: Any) -> None:
        """The first file that is opened then has its number."""
        file = tmp_path / "data"
        code = f"{SETUP}\nopen({str(file)!r}, 'w'); log.error('x')"

        subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], check=False
        )

        assert not file.exists() or file.read_text() == ""

    def test_a_full_one_holds_nobody_up(self) -> None:
        """10,000 lines to a reader that never reads, and the loss is told when it does."""
        code = f"""{SETUP}
import time
started = time.monotonic()
for n in range(10_000): log.info("x", n=n)
print(time.monotonic() - started, flush=True)
sys.stdin.read()
log.info("after")
"""
        ours, theirs = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        assert process.stdout is not None
        lasted = float(process.stdout.readline())
        with open(ours, "rb") as reader:
            # There is room again before the next line is written.
            reader.read(16 * 1024)
            process.stdin.close()  # type: ignore[union-attr]
            *_, after, dropped = reader.read().splitlines()
        process.stdout.close()
        process.wait()

        assert lasted < 5
        assert json.loads(after)["event"] == "after"
        assert json.loads(dropped)["event"] == "log.dropped"
