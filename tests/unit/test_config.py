"""Reading config.toml and the environment: what is taken, what is refused, and in which words."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from receiver.config import Address, Config, Place, Source, load_config, resolve_secret
from receiver.config.keys import NAME, kind_of, valid_keys
from receiver.config.load import check, read_layers
from receiver.config.show import effective, to_toml
from receiver.config.values import check_source_path, parse_address
from receiver.errors import ConfigError
from receiver.signing import STYLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
GOOD = "a secret nobody would guess"
CANARY = "canary-0123456789-canary"
PIN = "90125551234567"
SOURCE = f'[sources.klen]\nsecrets = ["{GOOD}"]\n'


@pytest.fixture(name="load")
def _load(tmp_path: Path) -> Callable[..., Config]:
    def load(text: str = SOURCE, environ: Mapping[str, str] | None = None) -> Config:
        (tmp_path / "config.toml").write_text(text, "utf-8")
        return load_config(tmp_path / "config.toml", environ=environ or {})

    return load


@pytest.fixture(name="mistakes")
def _mistakes(load: Callable[..., Config]) -> Callable[..., tuple[str, ...]]:
    def mistakes(text: str = SOURCE, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        return caught.value.problems

    return mistakes


class TestFinding:
    def test_named_then_variable_then_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is the one named, else that of $KLENHOOK_CONFIG, else ./config.toml."""
        files = [tmp_path / name for name in ("named.toml", "variable.toml", "config.toml")]
        for file in files:
            file.write_text(SOURCE)
        monkeypatch.chdir(tmp_path)
        environ = {"KLENHOOK_CONFIG": str(files[1])}

        assert files[0] == load_config("named.toml", environ=environ).path
        assert files[1] == load_config(environ=environ).path
        assert files[2] == load_config(environ={"KLENHOOK_CONFIG": ""}).path

    @pytest.mark.parametrize(
        ("path", "environ", "words"),
        [
            (None, {}, "config.toml in this folder"),
            ("gone.toml", {}, "--config"),
            (None, {"KLENHOOK_CONFIG": "gone.toml"}, "KLENHOOK_CONFIG"),
        ],
    )
    def test_no_file(
        self,
        path: str | None,
        environ: dict[str, str],
        words: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Without a file the error says which one was meant and how to write one."""
        monkeypatch.chdir(tmp_path)

        with pytest.raises(ConfigError, match="klenhook init") as caught:
            load_config(path, environ=environ)

        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"[server]\nlisten = 127.0.0.1", "line 2, column 15: .*the character '\\.'; text needs quotes"),
            (b'a = "x', "line 1, column 7: .*the end of the file"),
            (b"a =\nb = 1", "line 1, column 4: .*the end of the line"),
            (b"a = 1\nb = \xff", "line 2: expected text in UTF-8"),
            (b"a = " + b"[" * 5000, "a nesting beyond all bounds"),
            (b"a = " + b"9" * 5000, "a number"),
        ],
    )
    def test_what_is_not_toml(self, content: bytes, expected: str, tmp_path: Path) -> None:
        """A file that is not TOML is named with the line, the column and what was found there."""
        file = tmp_path / "config.toml"
        file.write_bytes(content)

        with pytest.raises(ConfigError, match=expected) as caught:
            load_config(file, environ={})

        assert str(file) in str(caught.value)


class TestValues:
    def test_only_a_secret_is_needed(self, load: Callable[..., Config], tmp_path: Path) -> None:
        """Everything but a source's secrets has a default; paths start from the file's folder."""
        config = load()

        assert Address("127.0.0.1", 8080) == config.server.listen
        assert config.sources["klen"].path == "/webhooks/klen"
        assert tmp_path / "klenhook.db" == config.storage_path
        assert f"sqlite:///{tmp_path}/klenhook.db" == config.storage_url
        assert tmp_path / "plugins" == config.plugins_path
        assert tmp_path == config.base

    def test_a_source_without_a_path(self, load: Callable[..., Config]) -> None:
        """A source's path is its name behind /webhooks/, unless it has one."""
        assert load(SOURCE.replace("klen]", "second]")).sources["second"].path == "/webhooks/second"

    def test_absolute_storage(self, load: Callable[..., Config]) -> None:
        """Four slashes make the log's path absolute."""
        assert Path("/srv/x.db") == load(SOURCE + '[storage]\nurl = "sqlite:////srv/x.db"').storage_path

    def test_handler_tables(self, load: Callable[..., Config]) -> None:
        """A handler's table has typed reserved keys; all others are its settings, unresolved."""
        table = load(
            SOURCE + '[handlers.hello]\ntimeout = 5\nretry = {tries = 2}\nurl = "env:URL"\n[handlers.b]'
        ).handlers.tables["hello"]

        assert (table.enabled, table.timeout, table.ordered) == (True, 5, None)
        assert table.retry
        assert (table.retry.tries, table.retry.cap) == (2, None)
        assert table.settings == {"url": "env:URL"}

    def test_frozen(self, load: Callable[..., Config]) -> None:
        """Nothing in a configuration can be set."""
        with pytest.raises(ValueError, match="frozen"):
            load().server.max_body_bytes = 1  # type: ignore[misc]  # what is refused

    def test_in_code(self, tmp_path: Path) -> None:
        """A configuration can be made without a file."""
        place = Place(tmp_path / "any.toml", {"S": GOOD})
        config = Config.model_validate({"sources": {"klen": {"secrets": ["env:S"]}}}, context=place)

        assert config.sources["klen"].secrets[0].get_secret_value() == GOOD
        assert tmp_path == config.base

    @pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:8080", "0.0.0.0:65535", "my_host.example:80"])
    def test_addresses(self, text: str) -> None:
        """An address is host and port, and is written as it was read."""
        assert text == str(parse_address(text))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "8080",
            ":8080",
            "::1:80",
            "[::1]",
            "[1.2.3.4]:1",
            "1.2.3.999:1",
            "h:65536",
            "h:-1",
            "h:1\u0660",
            "a b:1",
            80,
        ],
    )
    def test_no_addresses(self, text: object) -> None:
        """Anything else is refused."""
        with pytest.raises(ValueError, match="expected"):
            parse_address(text)

    @pytest.mark.parametrize(
        ("host", "loopback"),
        [("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.1", False)],  # noqa: S104 -- the address is the case
    )
    def test_loopback(self, *, host: str, loopback: bool) -> None:
        """Loopback is what only this machine can reach."""
        assert Address(host, 1).is_loopback is loopback

    @pytest.mark.parametrize(
        "path", ["", "x", "/healthz", "/readyz", "/a?b", "/a#b", "/{x}", "/a/../b", "/a b", "/é"]
    )
    def test_no_paths(self, path: str) -> None:
        """A source's path is plain, without a query, and not that of the health checks."""
        with pytest.raises(ValueError, match="expected"):
            check_source_path(path)

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("storage.url", "klenhook.db", "expected sqlite:///FILE"),
            ("storage.url", "sqlite:///", "expected sqlite:///FILE"),
            ("storage.url", "sqlite:///:memory:", "expected sqlite:///FILE"),
            ("storage.url", "postgres://h/d", "not supported yet"),
            ("sources.klen.api_url", "ftp://h", "expected an http or https URL"),
            ("sources.klen.api_url", "https://h:x", "expected an http or https URL"),
            ("sources.klen.api_url", "https://h/?a", "expected an http or https URL"),
            ("sources.klen.signature_header", "a b", "expected the name of a header"),
            ("handlers.plugins_dir", "", "expected some text"),
        ],
    )
    def test_texts(self, key: str, value: str, words: str, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """A text of the wrong form is a mistake of its key."""
        (line,) = mistakes(f'sources.klen.secrets = ["{GOOD}"]\n{key} = "{value}"')

        assert line.startswith(f"{key}: ")
        assert words in line

    def test_every_style_can_be_chosen(self) -> None:
        """`signature` takes exactly the styles there are."""
        assert set(STYLES) == set(get_args(Source.model_fields["signature"].annotation))


class TestSecrets:
    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_file(self, ending: str, tmp_path: Path) -> None:
        """A secret's file is found from the configuration's folder; one newline at its end is dropped."""
        (tmp_path / "secret").write_bytes(f"{GOOD}\n{ending}".encode())

        assert GOOD + ("\n" if ending else "") == resolve_secret("file:secret", tmp_path, {})

    def test_variable_and_literal(self, tmp_path: Path) -> None:
        """A secret is a variable's value, or the text itself."""
        assert resolve_secret("env:S", tmp_path, {"S": GOOD}) == GOOD
        assert resolve_secret(GOOD, tmp_path, {}) == GOOD

    @pytest.mark.parametrize(
        ("secret", "words"),
        [
            ("env:GONE", "the environment variable GONE is not set"),
            ("env:", "expected the name of an environment variable"),
            ("env:not a name", "expected the name of an environment variable"),
            ("env:BYTES", "the environment variable BYTES is not text in UTF-8"),
            ("file:gone", "gone: No such file"),
            ("file:.", "Is a directory"),
            ("file:", "expected the path of a file"),
            ("file:a\\u0000b", "expected the path of a file"),
            ("file:bytes", "bytes is not text in UTF-8"),
            ("file:long", "is longer than"),
            ("", "empty"),
            ("short", "at least 16"),
            ("env:EMPTY", "empty"),
            ("your-klen-webhook-secret", "placeholder"),
        ],
    )
    def test_unusable(
        self, secret: str, words: str, mistakes: Callable[..., tuple[str, ...]], tmp_path: Path
    ) -> None:
        """A secret that cannot be read, or is easy to guess, is a mistake of its key."""
        (tmp_path / "bytes").write_bytes(b"\xff" * 20)
        (tmp_path / "long").write_bytes(b"x" * 70_000)
        environ = {"EMPTY": "", "BYTES": "\udcff" * 20}

        (line,) = mistakes(f'[sources.klen]\nsecrets = ["{GOOD}", "{secret}"]', environ)

        assert line.startswith("sources.klen.secrets[1]: ")
        assert words in line

    def test_unfit_for_the_style(self, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """A secret that its way to sign cannot use is a mistake."""
        (line,) = mistakes(SOURCE + 'signature = "standard-webhooks"')

        assert line.startswith("sources.klen.secrets: the secret must be whsec_")

    @pytest.mark.parametrize("text", ["", "[sources]", "[sources.klen]", "[sources.klen]\nsecrets = []"])
    def test_none(self, text: str, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """There is at least one source, and each has at least one secret."""
        (line,) = mistakes(text)

        assert line.startswith("sources")
        assert "env:KLEN_WEBHOOK_SECRET" in line

    def test_token(self, load: Callable[..., Config], mistakes: Callable[..., tuple[str, ...]]) -> None:
        """The private listener needs a token that is hard to guess, unless only this machine can reach it."""
        anywhere = SOURCE + '[ops]\nlisten = "0.0.0.0:1"\n'

        assert "ops.token: expected a token" in mistakes(anywhere)[0]
        assert "ops.token: " in mistakes(anywhere + 'token = "short"')[0]
        assert load(anywhere + f'token = "{GOOD}"').ops.token.get_secret_value() == GOOD


class TestMistakes:
    def test_all_at_once(self, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """Every mistake has a line: its key, what was expected, what was found, and the key meant."""
        lines = mistakes("""
            listen = "x"
            [server]
            listn = "127.0.0.1:1"
            max_body_bytes = "1 MB"
            shutdown_grace_seconds = 3
            [servr]
            [storage]
            url = "postgresql://h/db"
            [sources.klen]
            signature = "kleen"
            secret = "x"
            secrets = ["short"]
            [sources."a b"]
            secrets = "x"
            [sources.hub]
            path = "/webhooks/klen"
            signature = "github"
            json_fallback = true
            [dispatch]
            concurrency = 0
            retry = 5
            timeout_seconds = true
            shutdown_grace_seconds = inf
            [handlers]
            plugin_dir = "x"
            [handlers.x]
            enabled = 1
            retry = {tris = 3, base = -1}
            [logging]
            level = 2024-01-01
            format = ""
            [outbound]
            allow = ["10.0.0.5/8", "ok.example", "::1", "fe80::/10", 5]
        """)

        expected = """
            server.max_body_bytes: expected a whole number, found text "1 MB"
            server.listn: unknown key; did you mean server.listen?
            server.shutdown_grace_seconds: unknown key; did you mean dispatch.shutdown_grace_seconds?
            storage.url: postgresql:// is not supported yet; use sqlite:///FILE
            sources.klen.signature: expected one of klen, github, stripe, slack, standard-webhooks, shopify, found text "kleen"
            sources.klen.secrets[0]: the secret has 5 bytes; at least 16 are needed
            sources.klen.secret: unknown key; did you mean sources.klen.secrets?
            sources."a b": expected a source's name of up to 64 letters, digits, - and _
            sources."a b".secrets: expected a list, found text
            sources.hub.json_fallback: expected false, since it works with signature = "klen" only, found true
            sources.hub.secrets: missing; expected a list such as ["env:KLEN_WEBHOOK_SECRET"]
            dispatch.concurrency: expected at least 1, found 0
            dispatch.shutdown_grace_seconds: expected a finite number, found a number beyond all bounds
            dispatch.timeout_seconds: expected a number, found true
            dispatch.retry: expected a table, found a number
            handlers.plugin_dir: expected a table, found text; did you mean handlers.plugins_dir?
            handlers.x.enabled: expected true or false, found 1
            handlers.x.retry.base: expected at least 0, found -1
            handlers.x.retry.tris: unknown key; did you mean handlers.x.retry.tries?
            logging.level: expected one of debug, info, warning, error, found a date
            logging.format: expected one of console, json, found empty text
            outbound.allow[0]: expected a host, an address or a network such as "10.0.0.0/8", without a port, found text "10.0.0.5/8"
            outbound.allow[4]: expected text, found 5
            listen: unknown key; did you mean server.listen or ops.listen?
            servr: unknown key; did you mean server?
            sources.hub.path: expected a path of its own, found that of sources.klen
        """
        assert [line.strip() for line in expected.strip().splitlines()] == list(lines)

    def test_a_key_like_no_other(self, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """Where no key is near, the valid ones are listed."""
        assert mistakes(SOURCE + "[ops]\nzzz = 1") == (
            "ops.zzz: unknown key; valid here: listen, token, hosts",
        )

    def test_long_values_are_shortened(self, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """A message shows the beginning of a value, and no control characters."""
        (line,) = mistakes(SOURCE + f'[logging]\nlevel = "\\u001b{"x" * 1000}"')

        assert len(line) < 200
        assert r'"\u001bxxx' in line

    @pytest.mark.parametrize(
        "value", ["0x" + "f" * 5000, "[" * 50 + "]" * 50, "{a = {a = 1}}", "1979-05-27", "nan"]
    )
    @pytest.mark.parametrize("key", [".".join(key).replace(NAME, "klen") for key in valid_keys()])
    def test_any_value_anywhere(self, key: str, value: str, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """Whatever a key holds, a mistake is a line that names it."""
        lines = mistakes(
            f"sources.klen.api_url = 5\n{key} = {value}\n" if "api_url" not in key else f"{key} = {value}"
        )

        assert any(line.startswith((key, key.rpartition(".")[0])) for line in lines)


class TestEnvironment:
    def test_every_type(self, load: Callable[..., Config]) -> None:
        """Variables set keys of every type, above the file; names are spelled as the file has them."""
        config = load(
            SOURCE.replace("klen]", "Klen]") + '[server]\nlisten = "h:1"\nmax_body_bytes = 7',
            {
                "KLENHOOK_SERVER__LISTEN": "h:2",
                "KLENHOOK_DISPATCH__CONCURRENCY": "3",
                "KLENHOOK_DISPATCH__TIMEOUT_SECONDS": "1.5",
                "KLENHOOK_DISPATCH__RETRY": '{"tries": 2}',
                "KLENHOOK_SOURCES__KLEN__PATH": "/x",
                "KLENHOOK_SOURCES__TWO__SECRETS": '["env:KLENHOOK_OF_TWO"]',
                "KLENHOOK_OF_TWO": GOOD,
                "KLENHOOK_OUTBOUND__ALLOW": '["10.0.0.0/8"]',
                "KLENHOOK_HANDLERS__FORWARD__ENABLED": "false",
                "KLENHOOK_HANDLERS__FORWARD__URL": "http://x",
                "KLENHOOK_HANDLERS__FORWARD__HEADERS": '{"a": "b"}',
                "KLENHOOK_HANDLERS__FORWARD__HEADERS__C": "[x",
                "KLENHOOK_CONFIG": "unused",
                "OTHER": "x",
            },
        )

        assert (Address("h", 2), 7) == (config.server.listen, config.server.max_body_bytes)
        assert (config.dispatch.concurrency, config.dispatch.timeout_seconds) == (3, 1.5)
        assert (config.dispatch.retry.tries, config.dispatch.retry.base) == (2, 30)
        assert {name: one.path for name, one in config.sources.items()} == {
            "Klen": "/x",
            "two": "/webhooks/two",
        }
        assert config.outbound.allow == ("10.0.0.0/8",)
        assert config.handlers.tables["forward"].enabled is False
        assert config.handlers.tables["forward"].settings == {
            "url": "http://x",
            "headers": {"a": "b", "c": "[x"},
        }

    @pytest.mark.parametrize(
        ("name", "text", "line"),
        [
            ("SERVER__LISTN", "h:1", "unknown variable; did you mean KLENHOOK_SERVER__LISTEN?"),
            ("SERVER_LISTEN", "h:1", "unknown variable; did you mean KLENHOOK_SERVER__LISTEN?"),
            ("HANDLERS__PLUGIN_DIR", "x", "unknown variable; did you mean KLENHOOK_HANDLERS__PLUGINS_DIR?"),
            ("SOURCES__KLEN__SECRET", "x", "unknown variable; did you mean KLENHOOK_SOURCES__KLEN__SECRETS?"),
            ("ZZZ", "x", "unknown variable"),
            ("SERVER__", "x", "unknown variable"),
        ],
    )
    def test_unknown(self, name: str, text: str, line: str, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """A variable that sets no key is a mistake, with the nearest one."""
        assert mistakes(SOURCE, {f"KLENHOOK_{name}": text}) == (f"KLENHOOK_{name}: {line}",)

    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            ("DISPATCH__CONCURRENCY", "many", 'expected a whole number, found text "many"'),
            ("OUTBOUND__ALLOW", "10.0.0.0/8", "expected a JSON list such as"),
            ("OUTBOUND__ALLOW", "[" * 100_000, "found text that is not JSON"),
            ("OUTBOUND__ALLOW", '["a b"]', "expected a host"),
            ("OUTBOUND", "[]", "expected a JSON object"),
            ("LOGGING__LEVEL", "\udcff", "expected text in UTF-8"),
            ("SOURCES__KLEN__SECRETS", CANARY, "expected a JSON list such as"),
            ("SOURCES__KLEN__SECRETS", f'"{CANARY}"', "found other JSON"),
            ("SOURCES__KLEN__SECRETS", f'["{CANARY}\ud800"]', "UTF-8"),
        ],
    )
    def test_wrong(self, name: str, text: str, words: str, mistakes: Callable[..., tuple[str, ...]]) -> None:
        """A mistake in a variable names the variable and its key."""
        (line,) = mistakes(SOURCE, {f"KLENHOOK_{name}": text})

        key = name.lower().replace("__", ".")
        assert re.match(rf"KLENHOOK_{name} \({re.escape(key)}(\[0\])?\): ", line)
        assert words in line
        assert CANARY not in line


class TestHiding:
    @pytest.mark.parametrize(
        "text",
        [
            f"""
            sources.klen = {{secrets = ["{CANARY}"], api_key = "{CANARY}"}}
            ops.token = "{CANARY}"
            handlers.x = {{plain = "{CANARY}", list = ["{CANARY}"], table = {{a = "{CANARY}"}}}}
            """,
            """
            sources.klen = {secrets = ["env:S", "file:secret"], api_key = "env:S"}
            ops.token = "file:secret"
            """,
        ],
    )
    def test_a_good_configuration(self, text: str, tmp_path: Path) -> None:
        """No secret is in what a configuration prints of itself, nor in what is shown of it."""
        file = tmp_path / "config.toml"
        file.write_text(text)
        (tmp_path / "secret").write_text(CANARY)
        layers = read_layers(file, environ={"S": CANARY})
        config = check(layers)

        shown = to_toml(effective(config, layers))

        assert CANARY not in f"{config!r} {config} {config.handlers!r} {layers!r}"
        assert CANARY not in shown
        assert tomllib.loads(shown)["server"] == {
            "listen": "127.0.0.1:8080",
            "max_body_bytes": 1_048_576,
            "body_timeout_seconds": 5,
            "store_timeout_seconds": 8,
        }

    @pytest.mark.parametrize(
        "text",
        [
            f'[sources.klen]\nsecrets = "{CANARY}"',
            f'[sources.klen]\nsecrets = {{a = "{CANARY}"}}',
            f'[sources.klen]\nsecrets = [["{CANARY}"]]',
            f'[sources.klen]\nsecrets = ["{CANARY}"]\nsignature = "standard-webhooks"',
            f'[sources.klen]\nsecrets = ["env:{CANARY}!"]',
            f'[sources.klen]\nsecret = "{CANARY}"',
            f'[sources.klen]\napi_key = ["{CANARY}"]',
            f'[sources]\nklen = "{CANARY}"',
            f'sources = "{CANARY}"',
            f'sources = ["{CANARY}"]',
            f'[ops]\ntoken = ["{CANARY}"]\nlisten = "0.0.0.0:1"',
            f'[ops]\ntokn = "{CANARY}"',
            f'ops = "{CANARY}"',
            f'[handlers]\nx = "{CANARY}"',
            f'[handlers.x]\nretry = "{CANARY}"\nown = "{CANARY}"',
            f'[storage]\nurl = "postgresql://u:{CANARY}@h/d"',
            f'[storage]\nurl = "mysql://u:{CANARY}@h/d"',
            f'[storage]\nurl = "mysql://h/d?password={CANARY}"',
            f'[sources.klen]\napi_url = "https://u:{CANARY}@h"',
            f'[sources.klen]\nsecrets = ["{CANARY}',
            f'[sources.klen]\nsecrets = ["{CANARY}\\q"]',
            f"[sources.klen]\nsecrets = {CANARY}",
            f"[sources.klen]\nsecrets = [{PIN}]\napi_key = {PIN}\n[ops]\ntoken = {PIN}",
        ],
    )
    def test_a_wrong_configuration(
        self, text: str, mistakes: Callable[..., tuple[str, ...]], load: Callable[..., Config]
    ) -> None:
        """No secret is in a mistake, nor in any error behind it."""
        with pytest.raises(ConfigError) as caught:
            load(text)

        assert CANARY not in "\n".join(mistakes(text))
        assert PIN not in str(caught.value)
        assert CANARY not in str(caught.value)
        assert caught.value.__cause__ is None


class TestExample:
    @pytest.fixture(name="written")
    def _written(self) -> dict[str, Any]:
        """The example, with the keys that are off in it turned on."""
        return tomllib.loads(re.sub(r"(?m)^#(?=[a-z\[])", "", EXAMPLE.read_text("utf-8")))

    def test_loads(self) -> None:
        """The example loads as it stands, once the secret is set, and changes no default."""
        shown = load_config(EXAMPLE, environ={"KLEN_WEBHOOK_SECRET": GOOD})
        least = Config.model_validate({"sources": {"klen": {"secrets": [GOOD]}}})

        assert least.model_dump() == shown.model_dump()

    def test_every_key_with_its_default(self, written: dict[str, Any]) -> None:
        """Every key is in the example, with its default; no other key is."""
        for key in valid_keys():
            value: Any = written
            for part in _as_in_the_example(key):
                value = value[part]
            default = kind_of(key[:-1]).model_fields[key[-1]].default
            if default is not None and default is not PydanticUndefined:
                assert value == _as_in_toml(default), key
        assert {_as_in_the_example(key) for key in valid_keys()} == set(_leaves((), written))

    def test_every_key_is_explained(self) -> None:
        """Above each key and table of the example stands a sentence, with the unit of seconds and bytes."""
        lines = EXAMPLE.read_text("utf-8").splitlines()
        for above, line in pairwise(lines):
            if re.match(r"#?[a-z\[]", line):
                assert re.fullmatch(r"# .*[.:]", above), line
                unit = re.search(r"_(seconds|bytes) ", line)
                assert not unit or unit[1] in above, line


def _as_in_the_example(key: tuple[str, ...]) -> tuple[str, ...]:
    """The key with the names that the example chose."""
    return tuple({"sources": "klen", "handlers": "hello"}[key[0]] if part == NAME else part for part in key)


def _as_in_toml(default: Any) -> object:
    """The default as TOML has it."""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return str(default) if isinstance(default, Address) else list(default) if default == () else default


def _leaves(key: tuple[str, ...], table: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every key below a table that holds a value."""
    return [
        leaf
        for name, value in table.items()
        for leaf in (_leaves((*key, name), value) if isinstance(value, dict) else [(*key, name)])
    ]
