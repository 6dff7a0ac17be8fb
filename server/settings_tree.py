"""The tree of settings: every key, its type, its bounds, its default and what it is for.

Only models live here: no reading of files, no rules across keys. The descriptions are the
comments of ``deploy/louver.example.toml`` and the text of the JSON Schema. Sizes are bytes,
rates frames per second. Constructing ``Settings(...)`` in code reads neither file nor
environment; ``config.load`` does, and checks what no single key can know.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from crypto_modes import wire

KINDS: tuple[wire.Kind, ...] = get_args(wire.Kind)
ENV_PREFIX = "LOUVER_"
ENV_DELIMITER = "__"


def _address(value: str) -> str:
    if value != "localhost":
        try:
            ip_address(value)
        except ValueError:
            raise ValueError("must be an IP address or localhost") from None
    return value


def _listed(value: Any) -> Any:
    """Environment and flags give a list as text with commas."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError('must be an origin such as "https://chat.example.org", without a path')
    return value.lower()


Address = Annotated[str, AfterValidator(_address)]
Port = Annotated[int, Field(ge=0, le=65535)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)
]
Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Word = Annotated[str, Field(max_length=32, pattern=r"^([a-z][a-z0-9_]*)?$")]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]
Rate = Annotated[float, Field(gt=0, le=1e9)]
Burst = Annotated[int, Field(ge=1, le=10**9)]
Many = Annotated[int, Field(ge=1, le=10**9)]


class Section(BaseModel):
    """Base of the tables of the file: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Modes(Section):
    """The mode of one kind of content in new conversations; left out: `mode` above."""

    text: Word = Field(default="", description="Written messages.")
    image: Word = Field(default="", description="Pictures.")
    video: Word = Field(default="", description="Films.")
    voice: Word = Field(default="", description="Voice messages.")
    file: Word = Field(default="", description="Files.")
    call: Word = Field(default="", description="Calls.")


class Listen(Section):
    """Where clients connect."""

    address: Address = Field(default="127.0.0.1", description="The IP address to listen on.")
    port: Port = Field(default=7443, description="0 takes a free port and logs it.")
    certificate: str = Field(
        default="",
        description="TLS certificate chain (PEM). `louverd certs dev` makes one for trying out.",
    )
    key: str = Field(default="", description="The certificate's private key (PEM).")
    insecure: bool | Literal["anywhere"] = Field(
        default=False,
        description='Plain WebSocket without TLS: true on a loopback address only, "anywhere" '
        "where something in front of the relay does the TLS.",
    )
    tls12: bool = Field(default=False, description="Also allow TLS 1.2 (ECDHE with AEAD).")
    origins: Origins = Field(
        default=(),
        description="Web origins whose pages may connect, beside the relay's own: "
        '["https://chat.example.org"]. Programs send no origin and are not concerned.',
    )


class Internal(Section):
    """Health, metrics and administration by plain HTTP; keep it away from the public."""

    address: Address = Field(default="127.0.0.1", description="The IP address to listen on.")
    port: Port = Field(default=7480, description="0 takes a free port and logs it.")


class StoreSettings(Section):
    """How messages are kept."""

    durability: Literal["full", "relaxed"] = Field(
        default="full",
        description="full: `accepted` survives a power cut. relaxed: a power cut may lose the "
        "last moments, and clients and reports are told so.",
    )


class Keys(Section):
    """The platform key that wraps the data keys of mode at_rest."""

    provider: Literal["file", "passphrase", "transit", "kms"] = Field(
        default="file",
        description="Where the key lives. file: in a file. passphrase: in a file that only a "
        "passphrase opens. transit: in Vault's or OpenBao's Transit engine. kms: in AWS KMS.",
    )
    path: str = Field(
        default="",
        description="file, passphrase: the key file; left out: `kek` in the data directory.",
    )
    passphrase: str = Field(
        default="",
        description="passphrase: a file that holds it and that only this user may read; left "
        "out: it is asked for on the terminal at each start.",
    )
    name: str = Field(
        default="",
        max_length=2048,
        description="transit: the key's name. kms: its id, ARN or alias.",
    )
    address: str = Field(
        default="",
        description="transit: where the service is, such as https://vault.example.org:8200. kms: "
        "another endpoint than AWS's own.",
    )
    mount: str = Field(default="transit", description="transit: where the engine is mounted.")
    token: str = Field(
        default="",
        description="transit: a file that holds the relay's token and that only this user may "
        "read; an agent may renew it there.",
    )
    authorities: str = Field(
        default="",
        description="transit: the authority of its certificate (PEM); left out: the system's.",
    )
    region: str = Field(default="", description="kms: the region of the key.")
    moderation: str = Field(
        default="",
        description="The file with the vault's public key: each data key is wrapped for it as "
        "well, so that the vault can open messages under a granted case. `louverd moderation "
        "vault-key` makes it and the secret key, which is never for this machine. Left out: there "
        "is no such door, from the next message on.",
    )


class Accounts(Section):
    """Who may have an account."""

    registration: Literal["open", "external", "closed"] = Field(
        default="open",
        description="open: anyone, with a password. external: whoever brings a token of your "
        "identity provider. closed: nobody new.",
    )
    jwks: str = Field(
        default="", description="The provider's keys (JWKS): a file or an https:// address."
    )
    issuer: str = Field(
        default="", description="What `iss` in its tokens must be; empty: not checked."
    )
    audience: str = Field(default="", description="What `aud` must contain; empty: not checked.")
    token_days: int = Field(
        default=30, ge=1, le=3650, description="Days until a device must log in again."
    )


class Features(Section):
    """What travels beside messages; each tells the relay, and the peer, something."""

    typing: bool = Field(default=False, description="Show who is typing.")
    presence: bool = Field(default=False, description="Show who is online.")
    receipts: bool = Field(default=True, description="Show who has read.")


class Limits(Section):
    """What one client may take. Sizes in bytes, rates in frames per second."""

    frame: int = Field(default=65536, ge=1024, le=2**20, description="The largest frame.")
    before_hello: int = Field(
        default=4096, ge=512, le=2**16, description="The same before `hello`."
    )
    hello_seconds: Seconds = Field(default=5.0, description="Time from connecting to `hello`.")
    ping_seconds: Seconds = Field(default=25.0, description="Silence before the relay asks.")
    pong_seconds: Seconds = Field(default=10.0, description="Time to answer that.")
    write_seconds: Seconds = Field(
        default=30.0, description="Time in which a peer takes nothing before it is closed (4008)."
    )
    outbox_frames: Many = Field(default=256, description="Frames waiting for a slow reader ...")
    outbox_bytes: Many = Field(
        default=2**20, description="... or bytes, before it is closed (4008)."
    )
    control_frames: Many = Field(
        default=1024,
        description="Pings, pongs and fragments without a message between them, before the "
        "connection is closed (4013). 32 before `hello`.",
    )
    connections: Many = Field(default=60_000, description="Connections in all.")
    connections_per_account: Many = Field(default=20, description="Of one account.")
    connections_per_address: Many = Field(default=1000, description="From one IP address.")
    page: int = Field(default=100, ge=1, le=500, description="Messages in one page of history.")
    device_rate: Rate = Field(default=50.0, description="Frames per second of one device ...")
    device_burst: Burst = Field(default=200, description="... and how many at once after a pause.")
    account_rate: Rate = Field(default=100.0, description="Of all devices of one account.")
    account_burst: Burst = Field(default=400, description="At once.")
    address_rate: Rate = Field(
        default=1000.0, description="Of all connections from one IP address."
    )
    address_burst: Burst = Field(default=4000, description="At once.")
    lookup_rate: Rate = Field(
        default=0.5, description="Lookups of names per second of one account; slow on purpose."
    )
    lookup_burst: Burst = Field(default=30, description="At once.")
    blob: int = Field(
        default=100 * 2**20,
        ge=0,
        le=2**40,
        description="The largest attachment; 0: none. They also need `frame` of 45056 or more.",
    )
    blob_account: int = Field(
        default=2**30, ge=0, le=2**50, description="All attachments that one account has sent."
    )
    blob_hours: Many = Field(
        default=24, description="Hours until an upload goes that no message refers to."
    )
    blob_rate: Rate = Field(
        default=200.0, description="Pieces (32 KiB) per second of one account, up and down."
    )
    blob_burst: Burst = Field(default=400, description="At once.")
    login_rate: Rate = Field(
        default=1.0,
        description="Registrations and logins per second from one IP address, and devices to link.",
    )
    login_burst: Burst = Field(default=20, description="At once.")
    report_rate: Rate = Field(
        default=0.005, description="Reports per second of one account: one in 200 seconds."
    )
    report_burst: Burst = Field(default=10, description="At once.")


class Moderation(Section):
    """To whom users report."""

    key: str = Field(
        default="",
        description="The file with the moderation team's public key. `louverd moderation keygen` "
        "makes it and the secret key, which is for the team and never for this machine. Left out: "
        "nobody can report.",
    )
    vault: str = Field(
        default="",
        description="Where the vault is, such as https://vault.example.org:7490: it keeps the "
        "access log, in which every step of the staff is entered before it has an effect. Left "
        "out: the staff can do nothing.",
    )
    vault_authority: str = Field(
        default="",
        description="The authority of the vault's certificate (PEM); left out: the system's.",
    )
    jwks: str = Field(
        default="",
        description="The keys of the staff's identity provider, https:// or a file: its ID tokens "
        "then log in, too. Left out: passwords and one-time codes only.",
    )
    issuer: str = Field(default="", description="The `iss` of those tokens; needed with jwks.")
    audience: str = Field(default="", description="The `aud` of those tokens; needed with jwks.")
    webhook: str = Field(
        default="",
        description="Where each new report is posted, https://..., in the shape of ROOST Coop and "
        "signed like Standard Webhooks; the secret is in data/webhook.secret.",
    )
    webhook_key: str = Field(
        default="", description="The file with the X-API-KEY that the console wants, if it does."
    )
    webhook_types: Texts = Field(
        default=("user", "report"),
        description="The console's item types of users and of reports.",
    )


class Scanning(Section):
    """What the operator looks for in messages that the relay can read, before it seals them."""

    lists: Texts = Field(
        default=(),
        description='Lists as ACTION:CATEGORY:KIND:FILE, such as "flag:spam:words:lists/spam.txt" '
        'or "hold:fraud:links:lists/hosts.txt". flag: a sealed report for the moderation team. '
        "hold: the message is refused as well, until one of them lets it go. KIND is words, links "
        "or pictures (PDQ hashes). One entry a line.",
    )
    seconds: Seconds = Field(
        default=2.0,
        description="How long comparing a picture may take; one that takes longer goes on and is "
        "flagged. Pictures are compared one by one; one that waits as long for its turn is refused "
        "for now.",
    )


class Log(Section):
    """What the relay writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="From which importance on."
    )
    format: Literal["json", "text"] = Field(
        default="json", description="For programs or for people."
    )


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    mode: Word = Field(
        default="e2ee",
        min_length=1,
        description="The mode of new conversations: tls, at_rest or e2ee. Existing ones never "
        "get weaker by it.",
    )
    data: Path = Field(
        default=Path("louver-data"), description="The directory of databases, keys and tokens."
    )
    modes: Modes = Modes()
    listen: Listen = Listen()
    internal: Internal = Internal()
    store: StoreSettings = StoreSettings()
    keys: Keys = Keys()
    accounts: Accounts = Accounts()
    features: Features = Features()
    limits: Limits = Limits()
    moderation: Moderation = Moderation()
    scanning: Scanning = Scanning()
    log: Log = Log()

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given; ``config.load`` merges the other sources itself,
        because it must say of each value where it came from."""
        return (init_settings,)

    def modes_by_kind(self) -> dict[wire.Kind, str]:
        """The mode of every kind of content in a new conversation."""
        return {kind: getattr(self.modes, kind) or self.mode for kind in KINDS}
