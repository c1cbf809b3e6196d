"""Keys for the gateway: in which headers they are sent, and an object that hides them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Never, Self

import msgspec


class HeaderStyle(msgspec.Struct, frozen=True):
    """One way to present a key: its header, and the variable that it is read from."""

    header: str
    prefix: str
    variable: str


STYLES = {
    "token": HeaderStyle("Authorization", "Bearer ", "IDEOGRAM_TOKEN"),
    "access_token": HeaderStyle("Access-Token", "", "IDEOGRAM_ACCESS_TOKEN"),
}
"""The header styles, by the names of their settings.

Each is in one of the gateways' documents (documented); a third gateway lists both (seen). A new
style is a row here, an argument of `Credential`, and a key of `SharedOptions`.
"""


class Credential:
    """The key of one session: sent as `Authorization: Bearer …`, as `Access-Token: …`, or both.

    Its repr is masked. It compares by value, and it cannot be pickled.

    Args:
        token: The key in the style `Authorization: Bearer …`. Blanks around it are stripped.
        access_token: The key in the style `Access-Token: …`, likewise.

    Raises:
        ValueError: A key is empty, is not ASCII, or holds a blank or control character inside. The
            message does not show it.
        TypeError: A key is not a str.

    """

    __slots__ = ("_keys",)

    def __init__(self, *, token: str | None = None, access_token: str | None = None) -> None:
        given = {"token": token, "access_token": access_token}
        try:
            self._keys = tuple(_checked(name, given[name]) for name in STYLES)
        except (TypeError, ValueError) as error:
            raise error.with_traceback(None) from None
        finally:  # reports of errors may show a frame's locals
            del given, token, access_token

    def __repr__(self) -> str:
        keys = zip(STYLES, getattr(self, "_keys", ()), strict=False)
        return f"Credential({', '.join(f'{name}=***' for name, key in keys if key)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self._keys == other._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a Credential is not pickled: hand the key over by other means")

    def secrets(self) -> tuple[str | None, ...]:
        """Return the keys in the order of `STYLES`: token, access token. For the transport only."""
        return self._keys

    def headers(self) -> dict[str, str]:
        """Return the headers that present the key; empty without a key."""
        keys = zip(STYLES.values(), self._keys, strict=True)
        return {style.header: f"{style.prefix}{key}" for style, key in keys if key}


def _checked(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}: expected a str")
    value = value.strip()
    if value.partition(" ")[0].lower() == "bearer":
        raise ValueError(f"{name} begins with 'Bearer': give the key without it (it is not shown)")
    if not value:
        raise ValueError(f"{name} is empty: expected a key, or None for no key")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(
            f"{name} holds a blank, a control character or a character beyond ASCII:"
            " expected printable ASCII (the value is not shown)"
        )
    return value


def take_credentials(
    options: MutableMapping[str, Any], environ: Mapping[str, str]
) -> tuple[Credential, ...]:
    """Remove the keys from a client's options; return one credential per session.

    The environment is read only if the options hold no key.
    """
    keys = {name: options.pop(name, None) for name in STYLES}
    credentials = _listed(options.pop("credentials", ()))
    if all(key is None for key in keys.values()):
        if credentials:
            return credentials
        keys = {name: environ.get(style.variable) or None for name, style in STYLES.items()}
    elif credentials:
        raise TypeError(f"credentials were given together with {' or '.join(STYLES)}")
    return (Credential(**keys),)


def _listed(credentials: Iterable[Credential]) -> tuple[Credential, ...]:
    """Check that they are credentials, each with a key of its own."""
    if not isinstance(credentials, Iterable):
        raise TypeError(
            f"credentials is a {type(credentials).__name__}: expected a list of Credential"
        )
    checked: list[Credential] = []
    for index, credential in enumerate(credentials):
        if not isinstance(credential, Credential):
            raise TypeError(
                f"credentials[{index}] is a {type(credential).__name__}: expected a Credential"
            )
        if credential in checked:
            raise ValueError(f"credentials[{index}] repeats an earlier one: each needs its own key")
        checked.append(credential)
    return tuple(checked)
