"""What the check says about this host."""

import os
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.identity import KEY_FILE, Identity, remember_enrolment
from agent.preflight.host import disk, files, identity, state_directory
from agent.preflight.rows import Status
from tests.preflight.origin import settings

URL = "wss://cloud.example.com/agent/v1/connect"


def test_a_private_directory_passes(tmp_path):
    """Mode 0700, ours."""
    tmp_path.chmod(0o700)

    assert Status.PASS == state_directory(tmp_path).status


def test_a_directory_open_to_others_is_a_warning(tmp_path):
    """It will hold the key and the journal."""
    tmp_path.chmod(0o755)

    assert (Status.WARN, "chmod 700 it") == (
        state_directory(tmp_path).status,
        state_directory(tmp_path).advice,
    )


def test_a_directory_that_can_be_made_passes_and_is_not_made(tmp_path):
    """A check changes nothing."""
    assert Status.PASS == state_directory(tmp_path / "a" / "b").status
    assert [] == list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable to root")
def test_a_directory_that_cannot_be_written_fails(tmp_path):
    """Or cannot be made."""
    tmp_path.chmod(0o500)

    assert Status.FAIL == state_directory(tmp_path).status
    assert Status.FAIL == state_directory(tmp_path / "below").status


def test_a_file_in_its_place_fails(tmp_path):
    """As when a volume is mounted with a subPath to a file."""
    (tmp_path / "state").touch()

    assert Status.FAIL == state_directory(tmp_path / "state").status
    assert Status.FAIL == state_directory(tmp_path / "state" / "below").status


def test_the_disk_is_measured_where_the_directory_will_be(tmp_path):
    """Also before it is there."""
    assert " MiB free for " in disk(tmp_path / "later").found


def configured(state_dir: Path, **control_plane: object):
    """Return settings with this state directory."""
    return settings(agent={"state_dir": state_dir}, control_plane={"url": URL, **control_plane})


def test_an_enrolled_identity_passes(tmp_path):
    """By its name, which the control plane shows too."""
    key = Identity.load_or_create(tmp_path, "agent")
    remember_enrolment(tmp_path, URL)

    row = identity(configured(tmp_path))

    assert (Status.PASS, f"agent/{key.instance} is enrolled") == (row.status, row.found)


def test_an_identity_of_another_control_plane_is_a_warning(tmp_path):
    """It will be turned away there."""
    Identity.load_or_create(tmp_path, "agent")
    remember_enrolment(tmp_path, "wss://other.example.com/")

    assert Status.WARN == identity(configured(tmp_path)).status


def test_a_key_that_others_may_read_fails(tmp_path):
    """With what to do about it."""
    Identity.load_or_create(tmp_path, "agent")
    remember_enrolment(tmp_path, URL)
    (tmp_path / KEY_FILE).chmod(0o644)

    with pytest.raises(UsageError, match="chmod 600"):
        identity(configured(tmp_path))


@pytest.mark.parametrize(("token", "status"), [(None, "FAIL"), ("no", "FAIL"), ("yes", "PASS")])
def test_without_an_identity_a_join_token_is_needed(tmp_path, token, status):
    """One that can be read; no key is made."""
    (tmp_path / "yes").touch()

    row = identity(configured(tmp_path / "state", join_token_file=token and tmp_path / token))

    assert status == row.status
    assert not (tmp_path / "state").exists()


def test_every_missing_file_is_named_by_its_key(tmp_path):
    """In whatever part of the configuration."""
    vault = {
        "type": "vault",
        "address": "https://vault:8200",
        "auth": {"method": "token", "token_file": tmp_path / "token"},
    }
    pipeline = {
        "name": "p",
        "runner": "process",
        "command": [str(tmp_path / "no-program")],
        "directory": tmp_path / "no-directory",
    }
    named = settings(
        control_plane={"ca_file": tmp_path / "ca.pem"},
        secret_stores={"v": vault},
        pipelines=[pipeline],
    )

    found = " ".join(row.found for row in files(named))

    for name in ("control_plane.ca_file", "secret_stores.v.auth.token_file", "no-program"):
        assert name in found
    assert "pipelines.0.directory" in found


def test_all_files_there_is_one_row():
    """Since nobody wants to read a list of what is fine."""
    assert [Status.PASS] == [row.status for row in files(settings())]
