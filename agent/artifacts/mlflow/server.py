"""Questions to an MLflow tracking server, and its answers with their shapes checked.

What the answers say is not trusted: whoever may log a run may have written it. Every call blocks.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from agent.artifacts.http.client import Service, read_all
from agent.artifacts.http.errors import require_status
from agent.artifacts.http.index import require_few_values
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from agent.http_session import Response

API = "/api/2.0/mlflow"
MOST_BYTES = 16 * 1024 * 1024
_RUN = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)
_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")


def run_root(service: Service, run: str) -> str:
    """Return the root of the artifacts of *run*, as MLflow writes it.

    Raises:
        NotFound: There is no such run; one whose id is written otherwise is another.
    """
    if not _RUN.fullmatch(run):
        raise NotFound
    answer = ask(service, f"{API}/runs/get", {"run_id": run})
    if _found(answer, "run", "info", "run_id") not in (run, None):
        raise NotFound
    return _text(answer, "run", "info", "artifact_uri")


def logged_model_root(service: Service, model: str) -> str:
    """Return the root of the artifacts of a logged model, which is called ``m-`` and its id.

    Raises:
        NotFound: There is no such model.
    """
    if not is_logged_model(model):
        raise NotFound
    return _text(ask(service, f"{API}/logged-models/{model}", {}), "model", "info", "artifact_uri")


def is_logged_model(name: str) -> bool:
    """Say whether *name* is the id of a logged model, and not that of a registered one."""
    return _LOGGED_MODEL.fullmatch(name) is not None


def version_of_alias(service: Service, name: str, alias: str) -> str:
    """Return the version of a registered model that *alias* stands for now.

    Raises:
        NotFound: There is no such model or alias.
    """
    answer = ask(service, f"{API}/registered-models/alias", {"name": name, "alias": alias})
    return _text(answer, "model_version", "version")


def version_root(service: Service, name: str, version: str) -> str:
    """Return the root of the artifacts of a registered model's *version*.

    Raises:
        NotFound: There is no such model or version.
    """
    if not (version.isascii() and version.isdigit()):
        raise NotFound
    parameters = {"name": name, "version": version}
    return _text(ask(service, f"{API}/model-versions/get-download-uri", parameters), "artifact_uri")


def require_experiments(service: Service) -> None:
    """Prove that experiments can be read."""
    ask(service, f"{API}/experiments/search", {"max_results": "1"})


def ask(service: Service, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object that the server answers with.

    Raises:
        NotFound: It knows no such thing, or says that the parameters are none; an alias that does
            not exist is answered alike.
        Unsupported: The answer is too large.
    """
    with service.get(url(service, path), params=parameters) as response:
        if response.status_code == 400:
            raise NotFound(detail="the tracking server answered 400")
        require(response, (200,))
        body = read_all(response, most=MOST_BYTES)
    require_few_values(body)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise not_mlflow()
    return answer


def url(service: Service, path: str) -> str:
    """Return the URL of *path* at the server that the connector names.

    Raises:
        CredentialUnavailable: It names none.
    """
    if not service.endpoint_url:
        raise CredentialUnavailable(detail="the connector has no endpoint_url: set it to MLflow's")
    return f"{service.endpoint_url}{path}"


def require(response: "Response", wanted: Collection[int]) -> None:
    """Return if the status is one of *wanted*, as `require_status`.

    Raises:
        AccessDenied: Among others, MLflow does not answer to the name in `endpoint_url`.
    """
    if response.status_code == 403 and response.raw.read(64).startswith(b"Invalid Host header"):
        detail = "403: MLflow refuses the host in endpoint_url; name it in its --allowed-hosts"
        raise AccessDenied(detail=detail)
    require_status(response, wanted)


def _text(answer: Mapping[str, Any], *keys: str) -> str:
    found = _found(answer, *keys)
    if not isinstance(found, str) or not found:
        raise not_mlflow()
    return found


def _found(answer: object, *keys: str) -> object:
    for key in keys:
        answer = answer.get(key) if isinstance(answer, dict) else None
    return answer


def not_mlflow() -> StoreUnavailable:
    """Return what to raise of an answer with another shape than MLflow's."""
    return StoreUnavailable(detail="the answer is not one of MLflow's: look at endpoint_url")
