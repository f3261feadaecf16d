"""Every key of config.toml with its type and its default; `config.example.toml` explains them to people.

Values are checked strictly: text is not taken for a number. The order of fields matters in `Source` and
`Ops`, where a secret is judged together with the keys above it. The rule easiest to break: `repr` of a
model must not show a secret, also not those among a handler's own settings.
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003 -- pydantic evaluates the annotations
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from receiver.config.fields import (
    GIGABYTE,
    SOURCE_NAME,
    Concurrency,
    Days,
    Factor,
    Listen,
    Pause,
    Place,
    Seconds,
    Secret,
    Section,
    SourceName,
    StrongSecret,
    Tries,
    refuse_weak,
)
from receiver.config.values import (
    Address,
    check_api_url,
    check_destination,
    check_header_name,
    check_period,
    check_source_path,
    check_storage_url,
    period_seconds,
)
from receiver.signing import Verifier

VENDOR_API_URL: Final = "https://api.klen.ai/api/v1"


class Server(Section):
    """The public listener: webhooks and health."""

    listen: Listen = Address("127.0.0.1", 8080)
    max_body_bytes: int = Field(default=1_048_576, ge=1, le=GIGABYTE)
    body_timeout_seconds: Seconds = 5
    store_timeout_seconds: Seconds = 8


class Ops(Section):
    """The private listener: metrics, JSON queries, console."""

    listen: Listen = Address("127.0.0.1", 8081)
    token: Secret = Field(default=SecretStr(""), validate_default=True)
    hosts: tuple[str, ...] = Field(default=(), strict=False)

    @field_validator("token")
    @classmethod
    def _guard_the_open_listener(cls, token: SecretStr, info: ValidationInfo) -> SecretStr:
        listen = info.data.get("listen")
        if listen is None or listen.is_loopback:
            return token
        if not token.get_secret_value():
            raise ValueError(
                'expected a token, since ops.listen is not a loopback address; such as "env:NAME"'
            )
        return refuse_weak(token)


class Storage(Section):
    """The log."""

    url: Annotated[str, AfterValidator(check_storage_url)] = "sqlite:///klenhook.db"


class Source(Section):
    """One account that sends webhooks."""

    path: Annotated[str, AfterValidator(check_source_path)] = "/webhooks/klen"
    """Without one, `Config` takes `/webhooks/` and the source's name."""
    signature: Literal["klen", "github", "stripe", "slack", "standard-webhooks", "shopify"] = "klen"
    signature_header: Annotated[str, AfterValidator(check_header_name)] = ""
    json_fallback: bool = False
    secrets: tuple[StrongSecret, ...] = Field(strict=False)
    api_url: Annotated[str, AfterValidator(check_api_url)] = VENDOR_API_URL
    api_key: Secret = SecretStr("")
    api_requests_per_minute: int = Field(default=60, ge=1, le=100_000)
    webhook_create_path: Annotated[str, AfterValidator(check_source_path)] = "/api/webhooks/create/"

    @field_validator("json_fallback")
    @classmethod
    def _only_klen_falls_back(cls, json_fallback: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic's signature
        if json_fallback and info.data.get("signature", "klen") != "klen":
            raise ValueError('expected false, since it works with signature = "klen" only')
        return json_fallback

    @field_validator("secrets")
    @classmethod
    def _can_verify(cls, secrets: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        if not secrets:
            raise ValueError('no secret is given; expected at least one, such as ["env:KLEN_WEBHOOK_SECRET"]')
        if "signature" in info.data:
            Verifier(info.data["signature"], [secret.get_secret_value() for secret in secrets])
        return secrets


class Retry(Section):
    """When a failed run is tried again, with full jitter; times in seconds."""

    tries: Tries = 8
    base: Pause = 30
    factor: Factor = 4
    cap: Pause = 21_600


class RetryOverride(Section):
    """What one handler does differently. None: as its `@on` says, else as `[dispatch] retry`."""

    tries: Tries | None = None
    base: Pause | None = None
    factor: Factor | None = None
    cap: Pause | None = None


class Dispatch(Section):
    """How handlers are run."""

    concurrency: Concurrency = 32
    shutdown_grace_seconds: Pause = 25
    timeout_seconds: Seconds = 60
    retry: Retry = Retry()


class HandlerTable(Section):
    """`[handlers.<name>]`: reserved keys, and the handler's own settings. None: as its `@on` says."""

    model_config = ConfigDict(extra="allow")
    other_keys: ClassVar[Any] = Any

    enabled: bool = True
    paused: bool = False
    retry: RetryOverride | None = None
    timeout: Seconds | None = None
    concurrency: Concurrency | None = None
    ordered: bool | None = None
    stale: Literal["skip", "run", "merge"] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The other keys, for the handler's Settings class; `env:` and `file:` are not resolved yet."""
        return dict(self.model_extra or {})

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name in type(self).model_fields:
            yield name, getattr(self, name)
        yield "settings", sorted(self.settings)


class Handlers(Section):
    """`[handlers]`: where plugins are, and one table per handler."""

    model_config = ConfigDict(extra="allow")
    other_keys: ClassVar[Any] = HandlerTable
    __pydantic_extra__: dict[str, HandlerTable] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]  # pydantic's way to type other keys

    plugins_dir: str = Field(default="plugins", min_length=1)

    @property
    def tables(self) -> dict[str, HandlerTable]:
        """The handlers' tables by the handler's name."""
        return dict(self.__pydantic_extra__)


class Retention(Section):
    """How long the log keeps things, in days; 0 is for ever."""

    events_days: Days = 400
    dead_days: Days = 800
    quarantine_days: Days = 90


class Logging(Section):
    """The service's own log lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Outbound(Section):
    """Where handlers may connect to."""

    allow: tuple[Annotated[str, AfterValidator(check_destination)], ...] = Field(default=(), strict=False)


class Reconcile(Section):
    """How the log is compared with the vendor's API."""

    every: Annotated[str, AfterValidator(check_period)] = "15m"

    @property
    def every_seconds(self) -> float | None:
        """None for `off`."""
        return period_seconds(self.every)


class OverdueSection(Section):
    """When a webhook that is expected is overdue."""

    grace_minutes: int = Field(default=45, gt=36, le=10_080)
    reminder_minutes: int = Field(default=60, ge=0, le=2_880)


class Config(Section):
    """The whole configuration, checked. `load_config` makes it."""

    server: Server = Server()
    ops: Ops = Ops()
    storage: Storage = Storage()
    retention: Retention = Retention()
    sources: dict[SourceName, Source] = Field(min_length=1)
    dispatch: Dispatch = Dispatch()
    handlers: Handlers = Handlers()
    logging: Logging = Logging()
    outbound: Outbound = Outbound()
    reconcile: Reconcile = Reconcile()
    overdue: OverdueSection = OverdueSection()

    _path: Path = PrivateAttr(default_factory=lambda: Path("config.toml").absolute())

    def model_post_init(self, context: Any, /) -> None:
        """Remember the file."""
        if isinstance(context, Place):
            self._path = context.path

    @field_validator("sources", mode="before")
    @classmethod
    def _name_the_paths(cls, sources: object) -> object:
        if not isinstance(sources, dict):
            return sources
        return {
            name: {"path": f"/webhooks/{name}"} | table
            if isinstance(table, dict) and SOURCE_NAME.fullmatch(str(name))
            else table
            for name, table in sources.items()
        }

    @property
    def path(self) -> Path:
        """The file it was read from."""
        return self._path

    @property
    def base(self) -> Path:
        """The file's folder, which relative paths start from."""
        return self._path.parent

    @property
    def storage_path(self) -> Path:
        """The file of the log."""
        return self.base / self.storage.url.removeprefix("sqlite:///")

    @property
    def storage_url(self) -> str:
        """The address of the log, with an absolute path."""
        return f"sqlite:///{self.storage_path}"

    @property
    def plugins_path(self) -> Path:
        """The folder of the plugins."""
        return self.base / self.handlers.plugins_dir
