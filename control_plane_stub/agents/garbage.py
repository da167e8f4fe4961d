"""Frames that no control plane may send."""

import json
from typing import Literal

Frame = str | bytes
GarbageName = Literal["malformed", "oversized", "nested", "gap", "binary"]


def garbage(kind: GarbageName) -> Frame:
    """Return a frame that is wrong in the way *kind* says."""
    match kind:
        case "malformed":
            return '{"type":"job.request","seq":'
        case "oversized":
            return json.dumps({"type": "job.request", "seq": 1, "kind": "x" * 2_000_000})
        case "nested":
            return '{"type":"job.request","parameters":' + "[" * 5000 + "]" * 5000 + "}"
        case "gap":
            return json.dumps({"type": "job.cancel", "seq": 2**40, "job": "x"})
        case "binary":
            return b"\xff\x00\x01"
