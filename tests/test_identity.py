"""The agent's key: made here, private, the same after every restart; and the proof of it."""

import base64
import json
import os
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.identity import (
    KEY_FILE,
    Identity,
    enrolled_at,
    instance_of,
    remember_enrolment,
)

URL = "wss://cloud.example.com/agent/v1/connect"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "new" / "state"


def mode(path) -> int:
    return path.stat().st_mode & 0o777


def test_the_key_is_private_whatever_the_umask(state):
    """Its directory too: nobody else on the host can read or replace it."""
    before = os.umask(0)
    try:
        Identity.load_or_create(state, "prod-eu")
    finally:
        os.umask(before)

    assert (mode(state), mode(state / KEY_FILE)) == (0o700, 0o600)


def test_a_restart_is_the_same_instance(state):
    first = Identity.load_or_create(state, "prod-eu")
    content = (state / KEY_FILE).read_bytes()
    second = Identity.load_or_create(state, "prod-eu")

    assert first.instance == second.instance
    assert first.public_key == second.public_key
    assert (state / KEY_FILE).read_bytes() == content
    assert [KEY_FILE] == [path.name for path in state.iterdir()]


def test_two_state_directories_are_two_instances(tmp_path):
    instances = {Identity.load_or_create(tmp_path / name, "prod-eu").instance for name in "ab"}

    assert len(instances) == 2


def test_the_name_follows_from_the_key(state):
    """As the protocol's page says, so that a control plane can check it."""
    identity = Identity.load_or_create(state, "prod-eu")
    raw = base64.urlsafe_b64decode(identity.public_key + "=")

    assert len(raw) == 32
    assert identity.instance == instance_of(raw)
    assert instance_of(bytes(32)) == "i-66687aadf862bd776c8f"


def test_no_text_of_it_shows_the_key(state):
    identity = Identity.load_or_create(state, "prod-eu")

    assert repr(identity) == f"<Identity prod-eu/{identity.instance}>"
    assert str(identity) == repr(identity)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_key_that_others_may_read_is_refused(state, bits):
    """It may have been copied; the text says what to do, and shows none of it."""
    Identity.load_or_create(state, "prod-eu")
    (state / KEY_FILE).chmod(bits)

    with pytest.raises(UsageError, match=r"identity\.key may be read by others; chmod 600 it"):
        Identity.load_or_create(state, "prod-eu")


def pem(key, encryption=serialization.NoEncryption()) -> bytes:  # noqa: B008
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no key",
        pem(generate_private_key(SECP256R1())),
        pem(Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"password")),
        pem(Ed25519PrivateKey.generate())[:60],
    ],
    ids=["empty", "text", "another curve", "encrypted", "torn"],
)
def test_a_file_that_is_no_key_is_refused_and_kept(state, content):
    """It is never replaced by itself: a lost key needs a new enrolment, and a person."""
    state.mkdir(parents=True)
    path = state / KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(UsageError, match="holds no Ed25519 key; remove it and enroll again"):
        Identity.load_or_create(state, "prod-eu")
    assert path.read_bytes() == content


def test_a_crash_in_between_is_harmless(state):
    """What an unfinished first start left is not the key, and is in nobody's way."""
    state.mkdir(parents=True)
    (state / f"{KEY_FILE}.new").write_bytes(b"-----BEGIN PRIV")

    identity = Identity.load_or_create(state, "prod-eu")

    assert identity.instance == Identity.load_or_create(state, "prod-eu").instance
    assert not (state / f"{KEY_FILE}.new").exists()


def test_a_trap_in_the_place_of_the_new_file_is_not_followed(state, tmp_path):
    """A link there would have the key written to wherever it leads."""
    state.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    (state / f"{KEY_FILE}.new").symlink_to(elsewhere)

    Identity.load_or_create(state, "prod-eu")

    assert not elsewhere.exists()


@pytest.mark.parametrize("what", ["a file", "a directory as key"])
def test_a_state_directory_that_cannot_be_used_is_named(state, what):
    if what == "a file":
        state.parent.mkdir()
        state.write_text("")
    else:
        (state / KEY_FILE).mkdir(parents=True, mode=0o700)

    with pytest.raises(UsageError, match=r"agent\.state_dir"):
        Identity.load_or_create(state, "prod-eu")


STARTS = """
import sys
from pathlib import Path
from agent.identity import Identity
sys.stdin.read()
print(Identity.load_or_create(Path(sys.argv[1]), "prod-eu").instance)
"""


def test_processes_that_start_together_agree_on_one_key(state):
    """None may enroll a key that another has already replaced."""
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", STARTS, state], stdin=-1, stdout=-1, stderr=-1, text=True
        )
        for _ in range(4)
    ]
    for start in starts:
        start.stdin.close()
        start.stdin = None
    answers = [start.communicate(timeout=20) for start in starts]

    assert {Identity.load_or_create(state, "prod-eu").instance} == {
        out.strip() for out, _ in answers
    }, answers


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@given(st.floats(0, 2**40), st.text(min_size=1, max_size=40))
def test_a_proof_is_a_compact_jws_of_exactly_these_claims(now, nonce):
    key = Ed25519PrivateKey.generate()
    identity = Identity("prod-eu", "i-1", key)

    header, claims, signature = identity.proof(URL, now=now, nonce=nonce).split(".")

    assert json.loads(decoded(header)) == {
        "alg": "EdDSA", "typ": "cloud-agent-proof+jwt", "kid": "i-1",
    }  # fmt: skip
    assert json.loads(decoded(claims)) == {
        "iss": "i-1", "sub": "prod-eu", "aud": URL,
        "iat": int(now), "exp": int(now) + 60, "jti": nonce,
    }  # fmt: skip
    key.public_key().verify(decoded(signature), f"{header}.{claims}".encode())
    assert "=" not in header + claims + signature


def test_a_changed_proof_does_not_hold(state):
    """Each byte that is signed counts."""
    identity = Identity.load_or_create(state, "prod-eu")
    public = Ed25519PublicKey.from_public_bytes(decoded(identity.public_key))
    signed, _, signature = identity.proof(URL, now=1, nonce="n").rpartition(".")

    for position in range(len(signed)):
        other = bytearray(signed.encode())
        other[position] ^= 1
        with pytest.raises(InvalidSignature):
            public.verify(decoded(signature), bytes(other))


def test_an_enrolment_is_remembered_with_its_address(state):
    state.mkdir(parents=True)
    assert enrolled_at(state) is None

    remember_enrolment(state, URL)

    assert enrolled_at(state) == URL
    assert mode(state / "enrolled.json") == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"url":7}', b"\xff", b"null"])
def test_a_broken_note_means_not_enrolled(state, content):
    """The token is accepted again from the same key, so asking once more does no harm."""
    state.mkdir(parents=True)
    (state / "enrolled.json").write_bytes(content)

    assert enrolled_at(state) is None
