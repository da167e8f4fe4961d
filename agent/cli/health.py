"""`cloud-agent ready` and `live`: ask the running agent, for images without a shell or curl."""

import argparse
import sys
from functools import partial
from urllib.parse import urlsplit

from agent.cli.arguments import Verbs, add_config, add_verb, load_config
from agent.errors import Exit, UsageError

_READY_TEXT = """
Asks the running agent whether it takes jobs: it is registered at the control plane and not
draining. Exits 0 or 1. Say where it listens with --url or, as telemetry.listen, with -c.

example:
  cloud-agent ready -c agent.yaml
"""

_LIVE_TEXT = """
Asks the running agent whether it makes progress, whatever the state of its link. Exits 0 or 1.
Say where it listens with --url, which is quickest, or, as telemetry.listen, with -c.

example:
  cloud-agent live --url http://127.0.0.1:9464
"""

_MOST_BYTES = 4096
# What listens on every address is asked on this host.
_ASKED_INSTEAD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def add(verbs: Verbs) -> None:
    """Add both verbs."""
    for name, path, text in (("ready", "/readyz", _READY_TEXT), ("live", "/livez", _LIVE_TEXT)):
        summary = f"ask whether the running agent is {name}"
        parser = add_verb(verbs, name, partial(ask, path), help=summary, text=text)
        add_config(parser)
        parser.add_argument("--url", metavar="URL", help="where the agent listens")
        parser.add_argument(
            "--timeout", type=float, default=5.0, metavar="SECONDS", help="default: %(default)s"
        )


def ask(path: str, arguments: argparse.Namespace) -> int:
    """GET *path* of the running agent; print what it says, or why it says nothing."""
    url = (arguments.url or _listening(arguments)).rstrip("/")
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError("--url: should be like http://127.0.0.1:9464")
    healthy, answer = _get(url + path, arguments.timeout)
    sys.stdout.write(answer.strip() + "\n")
    return Exit.DONE if healthy else Exit.FAILED


def _listening(arguments: argparse.Namespace) -> str:
    listen = load_config(arguments).settings.telemetry.listen
    if listen is None:
        raise UsageError("telemetry.listen: is null, so that the agent can't be asked")
    parts = urlsplit(f"//{listen}")
    host = parts.hostname or ""
    host = _ASKED_INSTEAD.get(host, host)
    return f"http://[{host}]:{parts.port}" if ":" in host else f"http://{host}:{parts.port}"


def _get(url: str, timeout: float) -> tuple[bool, str]:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, build_opener

    # Without proxies: a health endpoint is on this host, whatever HTTP_PROXY says.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as response:
            return True, response.read(_MOST_BYTES).decode(errors="replace")
    except HTTPError as exc:
        with exc:
            return False, exc.read(_MOST_BYTES).decode(errors="replace") or str(exc)
    except (OSError, HTTPException, ValueError) as exc:
        return False, f"no answer from {url}: {getattr(exc, 'reason', exc)}"
