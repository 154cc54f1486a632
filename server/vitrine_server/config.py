"""Settings of the server: `VITRINE_*` environment variables over `vitrine.toml` over defaults.

Built once at the edge of the process (`Settings()`); nothing else reads the environment. The table
in docs/settings.md is checked against this class by a test.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

Port = Annotated[int, Field(ge=1, le=65535)]


class ConfigError(Exception):
    """A setting cannot be used; the message names it and what would be accepted."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="VITRINE_", frozen=True, extra="forbid", toml_file="vitrine.toml"
    )

    workers: int = Field(
        0, ge=0, le=64, description="processes that serve HTTP; 0: one process does everything"
    )
    host: str = Field("127.0.0.1", description="address that HTTP listens on")
    http_port: Port = Field(8080, description="port of the HTTP API")
    grpc_port: int = Field(8081, ge=0, le=65535, description="port of the gRPC API; 0: none")
    triton_host: str = Field("127.0.0.1", description="where Triton answers")
    triton_http_port: Port = Field(8000, description="Triton's HTTP port")
    triton_grpc_port: Port = Field(8001, description="Triton's gRPC port")
    triton_metrics_port: Port = Field(8002, description="Triton's metrics port")
    triton_shared_memory: bool = Field(
        True, description="pixels reach a Triton on this machine through shared memory"
    )
    encoder_batch: int = Field(8, ge=1, le=32, description="most images in one call of Triton")
    encoder_calls: int = Field(3, ge=1, description="calls of Triton under way at the same time")
    cache_mb: float = Field(
        64, ge=0, description="embeddings kept in memory, MB (10^6 bytes); 0 keeps none"
    )
    result_cache_mb: float = Field(
        4,
        ge=0,
        description="answers that each collection keeps until its next write, MB; 0 keeps none",
    )
    redis_url: str | None = Field(
        None, description="Redis or Valkey that keeps embeddings for several servers; none: no"
    )
    data: Path = Field(Path("data"), description="folder of the collections")
    model_repository: Path = Field(
        Path("model_repository/cpu"), description="Triton's model repository for this machine"
    )
    triton_env: Path = Field(
        Path(".venv/triton"), description="environment whose Triton `vitrine-serve` starts"
    )
    log_format: str = Field(
        "text", pattern="^(text|json)$", description="log lines for people or for machines"
    )

    keep_originals: bool = Field(
        False, description="keep images as they were sent, for re-embedding with another encoder"
    )
    max_body_mb: float = Field(32, gt=0, description="largest request body, MB (10^6 bytes)")
    max_image_mb: float = Field(20, gt=0, description="largest encoded image, MB (10^6 bytes)")
    max_megapixels: float = Field(20, gt=0, description="largest image, 10^6 pixels")
    max_batch_items: int = Field(256, ge=1, description="items in one batch request")
    max_k: int = Field(1000, ge=1, description="largest k + offset of a search")
    decode_threads: int = Field(2, ge=1, description="images decoded at the same time")
    max_images_in_flight: int = Field(
        256, ge=1, description="images admitted at once; more are answered 429"
    )
    max_wait_s: float = Field(
        0.25, gt=0, description="expected wait of an image query, seconds, above which it gets 429"
    )
    request_timeout_s: float = Field(10, gt=0, description="deadline of a request, seconds")
    client_timeout_s: float = Field(
        30, gt=0, description="longest that a client may take over its body or our answer, seconds"
    )
    max_connections: int = Field(4096, ge=1, description="HTTP connections open at once")
    max_buffered_mb: float = Field(
        1024, gt=0, description="bodies that are being received, all together, MB (10^6 bytes)"
    )
    drain_s: float = Field(
        0.5, ge=0, description="from SIGTERM (not ready) to the last new connection, seconds"
    )
    api_keys: Path | None = Field(
        None, description="file of API keys (docs/security.md); none: anybody may do everything"
    )
    allow_anonymous: bool = Field(
        False, description="listen on other addresses than loopback without API keys"
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="web origins whose pages may call the API, as a JSON list"
    )
    log_requests: bool = Field(False, description="a log line for each request")

    webhook_networks: tuple[str, ...] = Field(
        (), description="networks that alerts may be posted to, as a JSON list of CIDR; none: off"
    )

    @field_validator("webhook_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks

    @property
    def encoder_folder(self) -> Path:
        """Folder of the published engine and its manifest."""
        return self.model_repository / "image_encoder" / "1"

    @property
    def text_encoder_folder(self) -> Path:
        """Folder of the published text encoder, where there is one."""
        return self.model_repository / "text_encoder" / "1"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings() -> Settings:
    """Settings of this process. Raises ConfigError with one sentence per wrong value."""
    try:
        settings = Settings()
    except ValidationError as error:
        problems = [
            f"VITRINE_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        raise ConfigError("; ".join(problems)) from None
    if not (settings.api_keys or settings.allow_anonymous or _is_loopback(settings.host)):
        raise ConfigError(
            f"VITRINE_HOST={settings.host} would let anybody who reaches it write and delete: "
            "name a file of keys in VITRINE_API_KEYS (docs/security.md), or set "
            "VITRINE_ALLOW_ANONYMOUS=true where something in front of the server asks for them"
        )
    return settings


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
