"""What a person gets for a mistake: one line that says what, where and what to do; no traceback."""

import os
from pathlib import Path

import pytest

from control_plane_stub.cli import main


@pytest.fixture(name="token_file")
def _token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONTROL_PLANE_STUB_URL", "CONTROL_PLANE_STUB_API_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "api-token"
    path.write_text("a-token\n")
    return path


VERBS = [
    *(["serve"], ["join-token"], ["join-token", "create"], ["submit"], ["jobs"], ["agents"]),
    *(["cancel"], ["fault"], ["fault", "list"], ["fault", "clear"]),
    *(["fault", fault] for fault in ("cut", "stall", "refuse", "delay", "duplicate", "reorder")),
    ["fault", "garbage"],
]


class TestHelp:
    @pytest.mark.parametrize("verb", VERBS, ids=" ".join)
    def test_has_an_example(self, verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main([*verb, "--help"])

        assert ended.value.code == 0
        assert f"example:\n  control-plane-stub {' '.join(verb)}" in capsys.readouterr().out


class TestMistake:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ([], "VERB"),
            (["submit", "fetch-artifact", "--agent", "a", "-p", "uri"], "key=value"),
            (["submit", "fetch-artifact"], "--agent"),
            (["submit", "x", "--agent", "a", "--deadline", "soon"], "30s, 5m or 2h"),
            (["serve", "--state-dir", "d", "--listen", "here"], "127.0.0.1:8080"),
            (["fault", "refuse", "--agent", "a", "--reason", "mood"], "revoked"),
        ],
    )
    def test_in_the_arguments_ends_with_2(
        self, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)

        assert ended.value.code == 2
        assert says in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["jobs", "--server", "localhost:8080"], "http:// or https://"),
            (["jobs", "--ca-file", "/nowhere/ca.pem"], "/nowhere/ca.pem: No such file"),
            (["submit", "x", "--agent", "a", "--params", "/nowhere"], "/nowhere: No such file"),
            (["submit", "x", "--agent", "a", "-p", "a=1", "-p", "a.b=2"], "a has a value"),
            (["join-token", "create", "--agent", "a", "--api-token-file", "/no"], "/no: No such"),
        ],
    )
    def test_in_a_value_ends_with_2(
        self,
        arguments: list[str],
        says: str,
        token_file: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        before = [] if "--api-token-file" in arguments else ["--api-token-file", str(token_file)]

        code = main([*arguments, *before])

        assert code == 2
        assert says in capsys.readouterr().err

    def test_without_a_token_names_where_to_put_it(
        self, token_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = main(["agents"])

        assert code == 2
        assert "CONTROL_PLANE_STUB_API_TOKEN_FILE" in capsys.readouterr().err


class TestUnreachable:
    def test_control_plane_ends_with_4(
        self, token_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        nobody = ["--server", "http://127.0.0.1:1", "--api-token-file", str(token_file)]

        code = main(["agents", *nobody])

        assert code == 4
        assert "http://127.0.0.1:1" in capsys.readouterr().err


class TestToken:
    def test_is_found_in_the_state_directory(
        self, token_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state_dir = os.fspath(token_file.parent)

        code = main(["agents", "--server", "http://127.0.0.1:1", "--state-dir", state_dir])

        assert code == 4
