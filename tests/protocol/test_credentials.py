"""Keys: how they are presented, kept, chosen and refused, and that nothing shows them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ideogram_async import Credential, IdeogramClient, IdeogramError
from ideogram_async._protocol.credentials import take_credentials
from tests.support.settings import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from ideogram_async._config import Settings

TOKEN = "sk-CANARY-0000"
ACCESS = "12345678-CANARY"
ENVIRON = {"IDEOGRAM_TOKEN": "env-token", "IDEOGRAM_ACCESS_TOKEN": "env-access"}


def presented(settings: Settings) -> list[dict[str, str]]:
    """Give the headers that each session presents."""
    return [credential.headers() for credential in settings.credentials]


# Presented


def test_each_style_has_its_header() -> None:
    """A token goes out as Bearer, an access token as Access-Token, both side by side, none not."""
    assert Credential(token="t").headers() == {"Authorization": "Bearer t"}
    assert Credential(access_token="a").headers() == {"Access-Token": "a"}
    both = {"Authorization": "Bearer t", "Access-Token": "a"}
    assert Credential(token="t", access_token="a").headers() == both
    assert Credential().headers() == {}


@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{}\r\n", "\u00a0{}\u2003"])
def test_blanks_around_a_key_are_stripped(around: str) -> None:
    """The line break at the end of a key's file is no part of the key."""
    credential = Credential(token=around.format("t"), access_token=around.format("a"))
    assert credential == Credential(token="t", access_token="a")


@pytest.mark.parametrize("key", ["!", "a~b", "eyJ.x-_=+/", "~" * 4096, '"quoted"', "a:b,c;d"])
def test_printable_ascii_is_a_key(key: str) -> None:
    """Nothing is made of what a key holds, as long as a header can carry it."""
    assert Credential(token=key).headers() == {"Authorization": f"Bearer {key}"}


# Refused


@pytest.mark.parametrize("name", ["token", "access_token"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "\n",
        "CANARY CANARY",
        "CANARY\nX: y",
        "CANARY\rX",
        "CANARY\x00",
        "CANARYé",
        "CANARY१",
    ],
    ids=repr,
)
def test_what_no_header_can_carry_is_refused(name: str, value: str) -> None:
    """An empty key, or one with blanks, controls or non-ASCII inside, is refused by its name."""
    with pytest.raises(ValueError, match=f"^{name} ") as caught:
        Credential(**{name: value})
    _check_untold(caught.value)


@pytest.mark.parametrize("name", ["token", "access_token"])
@pytest.mark.parametrize("value", [b"CANARY", 5, ["CANARY"], True])
def test_a_key_is_text(name: str, value: Any) -> None:
    """A key of another type is refused, by the name of its type alone."""
    with pytest.raises(TypeError, match=f"^{name} is a {type(value).__name__}") as caught:
        Credential(**{name: value})
    _check_untold(caught.value)


def _check_untold(error: BaseException) -> None:
    assert "CANARY" not in str(error)
    assert "CANARY" not in repr(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert "CANARY" not in _locals_of_the_package(error)


def _locals_of_the_package(error: BaseException) -> str:
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in report.stack if "ideogram_async" in frame.filename]
    assert frames
    return repr([frame.locals for frame in frames])


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": TOKEN, "max_in_flight": 0},
        {"access_token": ACCESS, "max_in_flight": "20"},
        {"environ": {"IDEOGRAM_TOKEN": TOKEN}, "max_in_flight": 0},
        {"environ": {"IDEOGRAM_TOKEN": f"{TOKEN}\n{TOKEN}"}},
        {"token": f"{TOKEN} {TOKEN}"},
        {"token": TOKEN, "credentials": [Credential(token=TOKEN)]},
        {"environ": {"IDEOGRAM_TOKEN": TOKEN}, "credentials": [TOKEN]},
        {"environ": {"IDEOGRAM_TOKEN": TOKEN}, "credentials": None},
    ],
)
def test_no_frame_of_a_refusal_shows_a_key(wrong: dict[str, Any]) -> None:
    """A report of an error with the frames' locals shows no key, given or of the environment."""
    with pytest.raises((TypeError, ValueError)) as caught:
        settled(**wrong)
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in _locals_of_the_package(caught.value)


# Kept


def test_nothing_prints_a_key() -> None:
    """Its repr says which styles it has, and neither it nor the settings show a value."""
    credential = Credential(token=TOKEN, access_token=ACCESS)
    assert repr(credential) == "Credential(token=***, access_token=***)"
    assert repr(Credential(access_token=ACCESS)) == "Credential(access_token=***)"
    assert repr(Credential()) == "Credential()"
    settings = settled(credentials=[credential])
    client = IdeogramClient("https://gateway.example", token=TOKEN)
    for shown in (settings, dataclasses.asdict(settings), [credential], client, vars(client)):
        assert "CANARY" not in f"{shown!r} {shown!s}"
    assert not hasattr(credential, "__dict__")


def test_a_half_made_credential_has_a_repr() -> None:
    """A debugger or report that shows a refused credential's `self` does not fall over it."""
    assert repr(Credential.__new__(Credential)) == "Credential()"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_credential_is_not_pickled(protocol: int) -> None:
    """A key does not slip into a pickle, alone or inside of settings."""
    credential = Credential(token=TOKEN)
    for holder in (credential, [credential], settled(credentials=[credential])):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder, protocol)


def test_a_credential_is_not_encoded() -> None:
    """Encoders that print whatever they meet do not print a key."""
    with pytest.raises(TypeError):
        msgspec.to_builtins(Credential(token=TOKEN))


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy])
def test_a_copy_is_itself(through: Callable[[Credential], Credential]) -> None:
    """Copying settings copies no key around in memory."""
    credential = Credential(token=TOKEN)
    assert through(credential) is credential


def test_credentials_compare_by_value() -> None:
    """The same keys are the same credential, and a token is no access token."""
    assert Credential(token="k") == Credential(token=" k\n")
    assert hash(Credential(token="k")) == hash(Credential(token="k"))
    assert Credential(token="k") != Credential(access_token="k")
    assert Credential(token="k") != Credential(token="k", access_token="k")
    assert Credential(token="k") != "k"
    assert len({Credential(token="k"), Credential(token="k"), Credential(token="l")}) == 2


# Chosen


def test_token_and_access_token_share_one_session() -> None:
    """Given side by side, both headers go out together."""
    settings = settled(token="t", access_token="a")
    assert presented(settings) == [{"Authorization": "Bearer t", "Access-Token": "a"}]


def test_credentials_are_a_session_each() -> None:
    """Each of several credentials presents its own headers, in the order given."""
    settings = settled(credentials=iter([Credential(token="t"), Credential(access_token="a")]))
    assert presented(settings) == [{"Authorization": "Bearer t"}, {"Access-Token": "a"}]


@pytest.mark.parametrize("keys", [{"token": "t"}, {"access_token": "a"}, {"token": ""}])
def test_credentials_with_another_key_are_refused(keys: dict[str, str]) -> None:
    """A second way of giving keys is a mistake, not an addition."""
    with pytest.raises(TypeError, match="credentials were given together"):
        settled(credentials=[Credential(token="c")], **keys)


def test_the_same_key_twice_is_refused() -> None:
    """Two sessions of one key would halve what each learns of its limit."""
    with pytest.raises(ValueError, match=r"credentials\[1\] repeats") as caught:
        settled(credentials=[Credential(token=TOKEN), Credential(token=TOKEN)])
    assert "CANARY" not in str(caught.value)


def test_credentials_are_credentials() -> None:
    """A bare string among them is refused, without showing it."""
    keys: Any = [TOKEN]
    with pytest.raises(TypeError, match=r"credentials\[0\] is a str") as caught:
        settled(credentials=keys)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ({}, {"Authorization": "Bearer env-token", "Access-Token": "env-access"}),
        ({"token": "t"}, {"Authorization": "Bearer t"}),
        ({"access_token": "a"}, {"Access-Token": "a"}),
        ({"credentials": [Credential(token="c")]}, {"Authorization": "Bearer c"}),
        ({"credentials": [Credential()]}, {}),
    ],
    ids=str,
)
def test_the_environment_serves_only_where_no_key_is_given(
    given: dict[str, Any], headers: dict[str, str]
) -> None:
    """A stray variable never sends a second key along with one that was given."""
    assert presented(settled(**given, environ=ENVIRON)) == [headers]


@pytest.mark.parametrize(
    ("environ", "headers"),
    [
        ({"IDEOGRAM_TOKEN": "t\n"}, {"Authorization": "Bearer t"}),
        ({"IDEOGRAM_ACCESS_TOKEN": "a"}, {"Access-Token": "a"}),
        ({"IDEOGRAM_TOKEN": "", "IDEOGRAM_ACCESS_TOKEN": ""}, {}),
        ({"IDEOGRAM_API_KEY": "vendor", "IDEOGRAM_KEY": "x", "API_KEY": "y"}, {}),
        ({}, {}),
    ],
    ids=str,
)
def test_which_variables_are_read(environ: dict[str, str], headers: dict[str, str]) -> None:
    """The two variables alone are read; the vendor's own IDEOGRAM_API_KEY goes to no gateway."""
    settings = settled(environ=environ)
    assert presented(settings) == [headers]
    assert bool(settings.secrets) is bool(headers)


def test_no_variable_but_its_own_is_looked_up() -> None:
    """Nothing else of the environment is as much as looked at."""

    class Watched(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    asked: list[str] = []
    take_credentials({}, Watched())
    assert asked == ["IDEOGRAM_TOKEN", "IDEOGRAM_ACCESS_TOKEN"]


def test_the_clients_own_environment_is_read_at_construction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client without arguments takes address and keys from the variables of its process."""
    monkeypatch.setenv("IDEOGRAM_BASE_URL", "https://gateway.example")
    monkeypatch.setenv("IDEOGRAM_TOKEN", "two keys")
    with pytest.raises(ValueError, match=r"^token holds a blank"):
        IdeogramClient()
    monkeypatch.setenv("IDEOGRAM_TOKEN", "t")
    assert "gateway.example" in repr(IdeogramClient())


@pytest.mark.parametrize("name", ["token", "access_token"])
@pytest.mark.parametrize("value", ["Bearer canary", " bearer canary", "Bearer "])
def test_a_key_with_its_header_s_word(name: str, value: str) -> None:
    """A key that was copied with `Bearer` is answered with what is wrong, and is not shown."""
    with pytest.raises(
        ValueError, match=f"^{name} begins with 'Bearer': give .* without"
    ) as caught:
        Credential(**{name: value})
    assert "canary" not in str(caught.value)


def test_secrets_are_listed_longest_first() -> None:
    """What is struck out of messages starts with the longest key, so that none hides a part."""
    keys = [Credential(token="ab", access_token="abcd"), Credential(token="abc")]
    assert settled(credentials=keys).secrets == ("abcd", "abc", "ab")


def test_no_error_of_a_key_is_one_of_the_run() -> None:
    """A wrong argument is a ValueError, for the caller to mend, and not one of the library's."""
    with pytest.raises(ValueError, match="token") as caught:
        Credential(token="")
    assert not isinstance(caught.value, IdeogramError)
