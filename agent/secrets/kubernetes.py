"""Secrets of a Kubernetes namespace, read by the cluster's API."""

import base64
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from agent.clouds.kubernetes.api import Forbidden, secret_of, secret_rules_of
from agent.clouds.kubernetes.login import KubernetesLogin
from agent.credentials import KubernetesCredentials
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable
from agent.secret import Secret
from agent.secrets.base import SecretValue, refuse_version

if TYPE_CHECKING:
    from kubernetes_asyncio.client import V1ResourceRule, V1SubjectRulesReviewStatus

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_NAME = 253


class KubernetesSecretStore:
    """Reads the Secret that a path names; its keys are the fields.

    It needs the right to get each Secret that a reference names, and no right to list them.
    *namespace* None is the one of the login.
    """

    def __init__(self, login: KubernetesLogin, namespace: str | None) -> None:
        self._login = login
        self._namespace = namespace

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        refuse_version(version)
        if not _NAME.fullmatch(path) or len(path) > _LONGEST_NAME:
            raise CredentialUnavailable(detail=f"{path!r} is not the name of a Secret")

        async def ask(credentials: KubernetesCredentials, namespace: str) -> Mapping[str, str]:
            try:
                return await secret_of(credentials, namespace, path)
            except NotFound:
                detail = f"no such secret: {path} in namespace {namespace}"
            except Forbidden:
                detail = f"missing right: get secrets {path} in namespace {namespace}"
            raise CredentialUnavailable(detail=detail)

        return SecretValue(_Fields(path, await self._asked(ask)))

    async def check(self) -> str:
        async def ask(credentials: KubernetesCredentials, namespace: str) -> str:
            rules = await secret_rules_of(credentials, namespace)
            return _readable(rules, namespace)

        return await self._asked(ask)

    def forget(self, path: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        await self._login.close()

    async def _asked(self, ask: Callable[[KubernetesCredentials, str], Awaitable[T]]) -> T:
        """Ask with the login's credentials; refused ones are dropped, and others tried once."""
        try:
            credentials = await self._login.credentials()
            try:
                return await ask(credentials, self._namespace_of(credentials))
            except AccessDenied:
                self._login.invalidate(credentials)
            credentials = await self._login.credentials()
            return await ask(credentials, self._namespace_of(credentials))
        except (AccessDenied, StoreUnavailable) as failure:
            raise CredentialUnavailable(detail=failure.detail) from None

    def _namespace_of(self, credentials: KubernetesCredentials) -> str:
        return self._namespace or credentials.namespace or "default"


class _Fields(Mapping[str, Secret]):
    """Decodes a field when it is asked for, so that one that is no text hides no other."""

    def __init__(self, path: str, data: Mapping[str, str]) -> None:
        self._path = path
        self._data = data

    def __getitem__(self, key: str) -> Secret:
        encoded = self._data[key]
        try:
            return Secret(base64.b64decode(encoded).decode())
        except ValueError:
            detail = f"the key {key} of Secret {self._path} is not UTF-8 text"
            raise CredentialUnavailable(detail=detail) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


def _readable(rules: "V1SubjectRulesReviewStatus", namespace: str) -> str:
    where = f"of namespace {namespace}"
    granting = [rule for rule in rules.resource_rules if _grants(rule)]
    if any(not rule.resource_names for rule in granting):
        return f"may get all Secrets {where}"
    names = sorted({name for rule in granting for name in rule.resource_names})
    if names:
        return f"may get the Secrets {', '.join(names)} {where}"
    if rules.incomplete:
        return f"logged in; the cluster does not tell which Secrets {where} may be read"
    raise CredentialUnavailable(
        detail=f"missing right: get secrets in namespace {namespace}; name the Secrets in a Role"
    )


def _grants(rule: "V1ResourceRule") -> bool:
    wanted = {"verbs": "get", "api_groups": "", "resources": "secrets"}
    return all({"*", one} & set(getattr(rule, key) or ()) for key, one in wanted.items())
