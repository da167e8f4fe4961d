"""The README of the protocol says what the program does: examples, fields, reasons and limits."""

import base64
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import Outcome, Reason
from agent.identity import Identity, instance_of
from agent.jobs.kinds import KINDS
from agent.link.upload import Target
from agent.protocol import close_reasons, codec, messages, upload

README = Path(messages.__file__).with_name("README.md").read_text(encoding="utf-8")
KNOWN = messages.FROM_AGENT | messages.FROM_CONTROL_PLANE
PARTS = [*KNOWN.values(), messages.OpenJob, messages.Standing, messages.Limits, messages.Trailer]
PARTS.append(messages.UploadOffer)
TABLES = {
    **{kind: KNOWN[kind] for kind in ("enroll", "hello", "welcome", "job.request", "job.accepted")},
    **{kind: KNOWN[kind] for kind in ("job.refused", "job.content", "job.log", "job.progress")},
    **{kind: KNOWN[kind] for kind in ("job.result", "agent.status")},
    "standing": messages.Standing,
    "trailer": messages.Trailer,
    "limit": messages.Limits,
    "upload": messages.UploadOffer,
}
FIELDS = [(part, name) for part in PARTS for name in part.model_fields if name != "type"]


def blocks(language: str = "") -> list[str]:
    """The fenced blocks of the README that are marked as *language*."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for marked, text in found if marked == language]


def objects(text: str) -> list[dict]:
    """The JSON objects in *text*, one behind the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def rows(*cells: str) -> list[str]:
    """The lines of tables that begin with *cells*."""
    start = "| " + " | ".join(cells) + " |"
    return [line for line in README.splitlines() if line.startswith(start)]


def explained(part: str) -> dict[str, bool]:
    """The fields in the table of *part*, and whether it says that they are required."""
    fields: dict[str, bool] = {}
    owner = ""
    for line in README.splitlines():
        cells = [cell.strip(" `") for cell in line.split("|")[1:-1]]
        if not cells or cells[-2:] == ["default", "meaning"]:
            owner = cells[0] if cells else ""
            continue
        if len(cells) == 5:  # the table of several messages: the first column names them once
            owner = cells.pop(0) or owner
        if owner == part and len(cells) == 4:
            names = re.findall(r"\w+", cells[0])
            fields.update(dict.fromkeys(names, cells[2] == "required"))
    return fields


EXAMPLES = [value for block in blocks("json") for value in objects(block)]
PROOF_HEADER, PROOF_CLAIMS = EXAMPLES[:2]
MESSAGES = [value for value in EXAMPLES if "type" in value]


@pytest.fixture
def identity() -> Identity:
    """The agent of the README's proof."""
    text = re.search(r"^private key +(\S+)$", README, re.MULTILINE)[1]
    key = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(text + "="))
    instance = instance_of(key.public_key().public_bytes_raw())
    return Identity(PROOF_CLAIMS["sub"], instance, key)


def test_the_proof_is_what_an_agent_sends(identity):
    (shown,) = (block for block in blocks() if block.startswith("eyJ"))

    claims = PROOF_CLAIMS
    proof = identity.proof(claims["aud"], now=claims["iat"], nonce=claims["jti"])

    assert proof == "".join(shown.split())


def test_the_proof_has_the_header_and_claims_that_are_shown(identity):
    proof = identity.proof(PROOF_CLAIMS["aud"], now=PROOF_CLAIMS["iat"], nonce=PROOF_CLAIMS["jti"])
    parts = [base64.urlsafe_b64decode(part + "==") for part in proof.split(".")[:2]]

    assert [PROOF_HEADER, PROOF_CLAIMS] == [json.loads(part) for part in parts]


def test_the_key_and_the_instance_are_those_of_the_proof(identity):
    assert [f"public key   {identity.public_key}", f"instance     {identity.instance}"] == [
        line for line in README.splitlines() if line.startswith(("public key ", "instance  "))
    ]


def test_the_binary_frame_is_block_16_of_its_job():
    (shown,) = (block for block in blocks() if block.startswith("01 00"))

    assert bytes.fromhex(shown) == codec.encode_block(16, "j-18", 0, b"hello")


@pytest.mark.parametrize("example", MESSAGES, ids=lambda example: example["type"])
def test_every_example_is_a_message_without_a_foreign_field(example):
    message = codec.decode(json.dumps(example), KNOWN)

    assert example.keys() <= type(message).model_fields.keys()


@pytest.mark.parametrize("kind", KNOWN)
def test_every_type_stands_in_the_table_of_types(kind):
    sender = {True: "both", False: "agent" if kind in messages.FROM_AGENT else "cloud"}
    both = kind in messages.FROM_AGENT and kind in messages.FROM_CONTROL_PLANE
    numbered = "yes" if issubclass(KNOWN[kind], messages.Numbered) else "no"

    assert re.search(rf"^\|.*`{kind}`.*\|.*{sender[both]}.*\| {numbered} \|", README, re.MULTILINE)


@pytest.mark.parametrize(
    ("part", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value)
)
def test_every_field_is_explained(part, name):
    assert re.search(rf"`{name}`|\"{name}\":", README)


@pytest.mark.parametrize("name", messages.Limits.model_fields)
def test_every_limit_has_its_bound_and_default(name):
    field = messages.Limits.model_fields[name]
    bound = [f"count, from {rule.ge:,}" for rule in field.metadata if getattr(rule, "ge", 0)]

    assert rows(f"`{name}`", *(bound or ["count"]), f"{field.default:,}")


@pytest.mark.parametrize("part", TABLES)
def test_a_table_of_fields_has_all_of_them_and_marks_the_required_ones(part):
    fields = {**TABLES[part].model_fields}
    for elsewhere in {"type", "seq", "job"} - explained(part).keys():
        fields.pop(elsewhere, None)

    assert {name: field.is_required() for name, field in fields.items()} == explained(part)


@pytest.mark.parametrize("reason", close_reasons.CLOSE_POLICIES)
def test_every_close_reason_has_its_codes(reason):
    policy = close_reasons.CLOSE_POLICIES[reason]
    (row,) = rows(f"`{reason}`", str(policy.code), str(policy.status))

    assert policy.retry_after is None or f"after {policy.retry_after} s" in row
    assert policy.final == ("the same" in row or "every few minutes" in row)


@pytest.mark.parametrize("word", [*Outcome, *Reason])
def test_every_outcome_and_reason_has_a_row(word):
    assert re.search(rf"^\|[^|]*`{word}`", README, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_job_has_its_parameters(kind):
    (row,) = rows(f"`{kind}`")
    elsewhere = {"zenml_artifact_version", "mlflow_run", "path"}

    assert all(
        f"`{name}`" in row for name in KINDS[kind].parameters.model_fields.keys() - elsewhere
    )


def test_the_limits_of_a_text_frame_are_the_codecs():
    items, digits = f"{codec.MAX_ITEMS:,}", codec.MAX_INTEGER_DIGITS

    assert rows("nesting / items / digits of an integer", f"{codec.MAX_DEPTH} / {items} / {digits}")
    assert rows("text frame, to the agent", f"{codec.MAX_TEXT_BYTES // 1024**2} MiB")


def test_the_request_of_a_segment_is_what_an_agent_sends(identity):
    (shown,) = (block for block in blocks() if block.startswith("PUT "))
    connect = PROOF_CLAIMS["aud"]
    url = upload.upload_url(connect, upload.UPLOAD_PATH, "j-18")
    target = Target(url, "cloud.example.com", "/agent/v1/upload/j-18", identity, "0.1.0")

    head = target.head(upload.Segment(0, 4194304, 1073741824)).decode()

    assert f"`{url}`" in README
    assert shown.splitlines() == [
        re.sub("Bearer .*", "Bearer PROOF", line) for line in head.strip().split("\r\n")
    ]


def test_the_request_that_asks_is_the_one_of_the_readme():
    assert f"Content-Range: {upload.Segment(0, 0, 1073741824).content_range()}" in README


@pytest.mark.parametrize("status", upload.VERDICTS)
def test_every_status_of_an_upload_has_a_row(status):
    says = {
        upload.Verdict.OUT_OF_STEP: "asks for the offset",
        upload.Verdict.LATER: "asks again",
        upload.Verdict.UNWANTED: "fails the job",
    }

    assert re.search(
        rf"^\|[^|]*\b{status}\b[^|]*\|[^|]*\| {says[upload.VERDICTS[status]]}", README, re.MULTILINE
    )


def test_an_offset_in_an_answer_is_understood_as_it_is_written():
    (shown,) = (value for value in EXAMPLES if value.keys() == {"offset"})

    assert shown == json.loads(upload.taken(4194304))
    assert upload.Answer(upload.Verdict.TAKEN, 200, 4194304) == upload.understand(
        200, json.dumps(shown).encode()
    )


def test_it_can_be_read_on_a_screen():
    assert not [line for line in README.splitlines() if len(line) > 140]
