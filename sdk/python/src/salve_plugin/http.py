"""HTTP calls to a target. The target has scheme, host and port; the grant has methods, paths, headers and secrets."""

from __future__ import annotations

import json as _json
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple, Union

from . import _host
from ._check import Pairs, pairs, well_formed
from .action import Receipt, receipt
from .errors import CallError
from .plan import Step, body_sha256, bytes_of, canonical_json, step, target_id


@dataclass
class Request:
    """A request in full. Make it by ``request``."""

    target: str
    method: str
    path: str
    query: List[Tuple[str, str]]
    headers: List[Tuple[str, str]]
    body: bytes
    idempotency_key: Optional[str]


@dataclass
class Response:
    """What came back. A status of 400 and above is an answer, not an error."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        """Below 400."""
        return self.status < 400

    def text(self) -> str:
        """The body as text; what is not UTF-8 becomes U+FFFD."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON; raises ``ValueError`` if it is none."""
        return _json.loads(self.text())

    def header(self, name: str) -> Optional[str]:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def request(
    target: Any,
    method: str,
    path: str,
    *,
    query: Pairs = None,
    headers: Pairs = None,
    body: Union[str, bytes] = b"",
    json: Any = None,
    idempotency_key: Optional[str] = None,
) -> Request:
    """A request. ``json``: a value, sent as canonical JSON with its content type, in place of ``body``."""
    all_headers = pairs(headers)
    if json is not None:
        body = canonical_json(json)
        if not any(name.lower() == "content-type" for name, _ in all_headers):
            all_headers.append(("content-type", "application/json"))
    key = None if idempotency_key is None else well_formed(str(idempotency_key))
    return Request(target_id(target), method, well_formed(path), pairs(query), all_headers, bytes_of(body), key)


def get(given: Request) -> Response:
    """Makes a GET or HEAD. Raises ``CallError``."""
    return _response(_host.interface("http").get(given))


def send(given: Request) -> Tuple[Response, Receipt]:
    """Makes a call of any other method. Raises ``CallError``."""
    response, made = _host.interface("http").send(given)
    return _response(response), receipt(made)


def send_step(given: Request) -> Step:
    """The step that licenses ``send`` with just this request; its body by digest."""
    arguments = {
        "body-sha256": body_sha256(given.body),
        "headers": given.headers,
        "idempotency-key": given.idempotency_key,
        "method": given.method,
        "path": given.path,
        "query": given.query,
    }
    return step("http", "send", given.target, arguments)


def _response(raw: Any) -> Response:
    return Response(raw.status, list(raw.headers), raw.body)


def _perform(licensed: Step, bodies: Sequence[bytes]) -> Receipt:
    if licensed.verb != "send":
        raise CallError("not-found", f"`http` has no write `{licensed.verb}`")
    arguments = _json.loads(licensed.arguments)
    digest = arguments["body-sha256"]
    body = next((body for body in [b"", *bodies] if body_sha256(body) == digest), None)
    if body is None:
        raise CallError("not-found", f"no body has the digest {digest}")
    response, made = send(
        request(
            licensed.target,
            arguments["method"],
            arguments["path"],
            query=arguments["query"],
            headers=arguments["headers"],
            body=body,
            idempotency_key=arguments["idempotency-key"],
        )
    )
    if not response.ok:
        raise CallError("failed", f"the answer was status {response.status}")
    return made
