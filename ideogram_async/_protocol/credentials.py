"""A key for the gateway, in one header style or both, kept where nothing prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Never, Self

TOKEN_VARIABLE = "IDEOGRAM_TOKEN"  # noqa: S105 - the variable's name, not a token
ACCESS_TOKEN_VARIABLE = "IDEOGRAM_ACCESS_TOKEN"  # noqa: S105 - as above


class Credential:
    """What one session presents: `Authorization: Bearer …`, `Access-Token: …`, or both.

    Each style stands in one of the gateways' documents, and a third gateway was seen to list both.
    Its repr is masked, it compares by value, and it cannot be pickled.

    Raises `ValueError`, which does not show the value, where a key is empty, not ASCII, or holds
    blanks or control characters; blanks around it are stripped.
    """

    __slots__ = ("_access_token", "_token")

    def __init__(self, *, token: str | None = None, access_token: str | None = None) -> None:
        try:
            self._token = _checked("token", token)
            self._access_token = _checked("access_token", access_token)
        except (TypeError, ValueError) as error:
            token = access_token = None  # reports of errors may show a frame's locals
            raise error.with_traceback(None) from None

    def __repr__(self) -> str:
        given = (name for name in ("token", "access_token") if getattr(self, f"_{name}", None))
        return f"Credential({', '.join(f'{name}=***' for name in given)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self.secrets() == other.secrets()

    def __hash__(self) -> int:
        return hash(self.secrets())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a Credential is not pickled: hand the key over by other means")

    def secrets(self) -> tuple[str | None, str | None]:
        """Give the token and the access token, for the transport alone."""
        return self._token, self._access_token

    def headers(self) -> dict[str, str]:
        """Make the headers that present it (documented, one style a document)."""
        headers = {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._access_token:
            headers["Access-Token"] = self._access_token
        return headers


def _checked(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}: expected a str")
    value = value.strip()
    if not value:
        raise ValueError(f"{name} is empty: expected a key, or None for no key")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(
            f"{name} holds a blank, a control character or a character beyond ASCII:"
            " expected printable ASCII (the value is not shown)"
        )
    return value


def choose(
    token: str | None,
    access_token: str | None,
    credentials: tuple[Credential, ...],
    environ: Mapping[str, str],
) -> tuple[Credential, ...]:
    """Give a credential for each session; the environment serves only where none is given."""
    if credentials:
        if token is not None or access_token is not None:
            raise TypeError("credentials were given together with token or access_token")
        return _distinct(credentials)
    if token is None and access_token is None:
        token = environ.get(TOKEN_VARIABLE) or None
        access_token = environ.get(ACCESS_TOKEN_VARIABLE) or None
    return (Credential(token=token, access_token=access_token),)


def _distinct(credentials: tuple[Credential, ...]) -> tuple[Credential, ...]:
    for place, credential in enumerate(credentials):
        if not isinstance(credential, Credential):
            raise TypeError(
                f"credentials[{place}] is a {type(credential).__name__}: expected a Credential"
            )
        if credential in credentials[:place]:
            raise ValueError(f"credentials[{place}] repeats an earlier one: each needs its own key")
    return credentials
