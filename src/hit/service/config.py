"""What a service may be told: LIB/serve.toml, and `key=value` on the command line."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hit import config as configs
from hit import deployment
from hit.errors import UserError


@dataclass(frozen=True)
class ServeConfig:
    """How a library is served.

    auth: "auto" asks for tokens unless only this machine is listened to. roots: folders of which videos may be indexed by
    path. hosts: names under which the service is reached, beside the address that it listens at. scanner: a command that gets
    a file's path as its last word and ends with 0 where an upload is harmless. concurrent: requests at once in a process;
    queued: how many more may wait, before others are told to come again later. timeout: seconds for an answer, media and uploads
    apart. metrics_open: whether /metrics is for everybody, also where others must say who they are. jobs: whether long work is
    done, and webhooks sent, here. allow_private: whether webhooks may go to addresses of private networks.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    auth: Literal["auto", "on", "off"] = "auto"
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    urls: bool = False
    reports: tuple[str, ...] = ()
    upload_mib: int = 4096
    quota_gib: float = 100.0
    cache_gib: float = 20.0
    scanner: tuple[str, ...] = ()
    clip_seconds: float = 600.0
    session_hours: float = 12.0
    timeout: float = 60.0
    concurrent: int = 16
    queued: int = 128
    metrics_open: bool = False
    jobs: bool = True
    allow_private: bool = False


def read(library: Path, overrides: Iterable[str] = ()) -> ServeConfig:
    """Return a library's `serve.toml`, if it has one, under hit.toml's [serve], under overrides.

    Raises UserError for what does not fit.
    """
    path = library / "serve.toml"
    table = configs.read(path) or {}
    if told := deployment.read().serve:
        configs.build(ServeConfig, told, f"{deployment.path()}: serve")  # which is to be named for what is wrong in it
        table |= told
    where = str(path) if table else "the settings"  # of the command line, where there is no file
    return check(configs.build(ServeConfig, configs.overridden(table, overrides), where))


def check(config: ServeConfig) -> ServeConfig:
    """Return a config that makes sense. Raises UserError for one that does not, or that would let everybody in."""
    if not is_loopback(config.host) and config.auth == "off":
        why = "would be open to everybody who reaches this machine"
        raise UserError(f"host {config.host}", why, "leave auth on, or listen at 127.0.0.1")
    if not 0 <= config.port < 65536:
        raise UserError("port", f"{config.port} is none", "0 to 65535; 0 takes one that is free")
    for name in ("workers", "upload_mib", "concurrent"):
        if getattr(config, name) < 1:
            raise UserError(name, f"{getattr(config, name)} is below 1")
    for name in ("quota_gib", "cache_gib", "clip_seconds", "session_hours", "timeout", "queued"):
        if getattr(config, name) < 0:
            raise UserError(name, f"{getattr(config, name)} is below 0")
    for root in (*config.roots, *config.reports):
        if not Path(root).is_dir():
            raise UserError(root, "there is no such folder", "name folders that are there as roots and reports")
    return config


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, of which another may say what it means
        return False


def guarded(config: ServeConfig) -> bool:
    """Tell whether whoever asks must say who they are."""
    return config.auth == "on" or (config.auth == "auto" and not is_loopback(config.host))
