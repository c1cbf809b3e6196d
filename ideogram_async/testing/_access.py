"""The keys that the gateway accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Access:
    """The accepted keys of the two header styles. A style without any is not checked."""

    def __init__(self, tokens: Iterable[str], access_tokens: Iterable[str]) -> None:
        self._tokens = frozenset(tokens)
        self._access_tokens = frozenset(access_tokens)
        self._revoked: set[str] = set()

    def revoke(self, key: str) -> None:
        """Refuse a key from now on."""
        self._revoked.add(key)

    def accept(self, key: str) -> None:
        """Accept a key from now on: one that was revoked, or else a new Bearer token."""
        self._revoked.discard(key)
        if key not in self._tokens | self._access_tokens:
            self._tokens |= {key}

    def admits(self, token: str | None, access_token: str | None) -> bool:
        """Return whether a query with these keys is accepted."""
        styles = ((token, self._tokens), (access_token, self._access_tokens))
        checked = [(key, accepted) for key, accepted in styles if accepted]
        presented = [(key, accepted) for key, accepted in checked if key is not None]
        if checked and not presented:
            return False
        return all(key in accepted and key not in self._revoked for key, accepted in presented)


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of an Authorization header."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None
