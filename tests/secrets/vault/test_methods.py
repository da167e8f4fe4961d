"""Every way to log in to Vault: with what its files hold now, and refused with words that help."""

import pytest

from agent.errors import CredentialUnavailable
from tests.servers.vault import METHODS, WRONG

FILES = ["secret_id_file", "token_file", "password_file", "cert_file"]


@pytest.fixture
def path(vault, request):
    vault.put(request.node.name, "first")
    return f"ml/{request.node.name}"


async def _value(store, path) -> str:
    return (await store.read(path)).fields["key"].reveal()


async def _refusal(store) -> str:
    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("ml/any")
    return failure.value.detail


def _revoke(vault, store) -> None:
    """Have the next question log in anew."""
    vault.admin.auth.token.revoke(store._session._token.secret.reveal())


@pytest.mark.parametrize("method", METHODS)
async def test_every_login_reads_its_files_anew(vault, open_vault, path, method):
    """A login with what was made useless meanwhile fails, with what replaced it works."""
    auth = vault.auth(method)
    store = open_vault(auth)
    assert "first" == await _value(store, path)
    wrong, right = vault.auth(method, wrong=True), vault.auth(method)

    for now in (wrong, right):
        for key in auth:
            if key.endswith("_file"):
                auth[key].write_text(now[key].read_text())
        if store._session._token is not None:
            _revoke(vault, store)
        if now is wrong:
            await _refusal(store)

    assert "first" == await _value(store, path)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("approle", "is the secret id one of this role"),
        ("approle-wrapped", "it may have been intercepted"),
        ("kubernetes", "service account name not authorized"),
        ("jwt", "invalid subject (sub) claim"),
        ("jwks", "does role ml accept its subject and audience?"),
        ("userpass", "is {file} the password of agent?"),
        ("cert", "does a role accept {file}?"),
    ],
)
async def test_a_refused_login_says_what_to_look_at(vault, open_vault, method, says):
    auth = vault.auth(method, wrong=True)
    (file,) = (auth[key] for key in FILES if key in auth)

    refusal = await _refusal(open_vault(auth))

    assert says.format(file=file) in refusal
    assert WRONG not in refusal
    assert file.read_text().strip() not in refusal


@pytest.mark.parametrize("method", ["kubernetes", "jwt", "jwks"])
@pytest.mark.parametrize(
    ("life", "says"), [(-600.0, "token is expired"), (600.0, "could not be found|invalid role")]
)
async def test_an_expired_token_and_a_missing_role_are_told_apart(
    vault, open_vault, method, life, says
):
    auth = vault.auth(method)
    auth["token_file"].write_text(vault.issuer.sign("agent", life=life))
    if life > 0:
        auth["role"] = "missing"

    refusal = await _refusal(open_vault(auth))

    assert any(said in refusal for said in says.split("|"))


@pytest.mark.parametrize("method", METHODS)
async def test_a_missing_file_is_named_as_the_cause(vault, open_vault, method):
    auth = vault.auth(method)
    (key,) = (key for key in FILES if key in auth)
    auth[key].unlink()

    assert f"{auth[key]}: No such file" in await _refusal(open_vault(auth))


@pytest.mark.parametrize("method", METHODS)
async def test_what_a_login_is_made_of_is_told_to_the_redactor(vault, open_vault, path, method):
    auth, seen = vault.auth(method), []
    (file,) = (auth[key] for key in FILES if key in auth)
    secret = file.read_text().strip()
    store = open_vault(auth, on_secret=lambda value: seen.append(value.reveal()))

    await _value(store, path)

    assert store._session._token.secret.reveal() in seen
    assert method == "cert" or secret in seen


async def test_a_login_happens_inside_the_namespace(vault, open_vault):
    """The role, the method and the secret are there and nowhere else."""
    vault.admin.adapter.post("/v1/sys/namespaces/team")
    inside = vault.server.client(vault.admin.token, namespace="team")
    inside.sys.enable_auth_method("approle", path="team-approle")
    inside.sys.create_or_update_policy("team", 'path "kv/*" { capabilities = ["read"] }')
    role = "/v1/auth/team-approle/role/team"
    inside.adapter.post(role, json={"token_policies": ["team"]})
    inside.sys.enable_secrets_engine("kv", "kv", options={"version": "1"})
    inside.secrets.kv.v1.create_or_update_secret("x", {"key": "inside"}, mount_point="kv")
    auth = {
        "method": "approle",
        "role_id": inside.adapter.get(f"{role}/role-id")["data"]["role_id"],
        "secret_id_file": vault.file(
            inside.adapter.post(f"{role}/secret-id", wrap_ttl=600)["wrap_info"]["token"]
        ),
        "secret_id_is_wrapped": True,
        "mount": "team-approle",
    }
    inside.adapter.close()

    assert "inside" == await _value(open_vault(auth, namespace="team", mount="kv"), "x")
