"""The configuration: `load_config` reads config.toml and the environment into one frozen, typed `Config`.

    models.py       every key, its type, its default; nothing else decides a default
    fields.py       the types that keys have
    values.py       what a key's text must look like: addresses, paths, secrets
    keys.py         the tree of valid keys, read off the models, and the nearest one to a wrong one
    environment.py  keys set by variables
    mistakes.py     what is said about a wrong key or value
    load.py         from the file to a Config, or to every mistake at once
    show.py         the effective values, secrets hidden

A new section is a model in models.py and its lines in config.example.toml.
"""

from __future__ import annotations

from receiver.config.fields import Place
from receiver.config.load import load_config
from receiver.config.models import (
    Config,
    Dispatch,
    Handlers,
    HandlerTable,
    Logging,
    Ops,
    Outbound,
    OverdueSection,
    Reconcile,
    Retry,
    RetryOverride,
    Server,
    Source,
    Storage,
)
from receiver.config.values import Address, resolve_secret

__all__ = [
    "Address",
    "Config",
    "Dispatch",
    "HandlerTable",
    "Handlers",
    "Logging",
    "Ops",
    "Outbound",
    "OverdueSection",
    "Place",
    "Reconcile",
    "Retry",
    "RetryOverride",
    "Server",
    "Source",
    "Storage",
    "load_config",
    "resolve_secret",
]
