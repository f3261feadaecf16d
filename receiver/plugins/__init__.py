"""Handlers: how a plugin marks its functions, and how the service finds, checks and configures them.

    api.py        `on` and the mark it leaves
    checks.py     what `on` refuses among its arguments; signature.py, among functions
    context.py    the optional second parameter
    settings.py   the handler's own table of the configuration
    handler.py    a handler as it runs
    modules.py    files loaded by location; installed.py, entry points of installed packages
    search.py     both to handlers; broken.py, those that fail
    loader.py     handlers and configuration to what the service runs
    hint.py       the lines to paste for an event that nobody handles

Plugins import from `receiver`, never from here.
"""

from __future__ import annotations

from receiver.plugins.api import on
from receiver.plugins.broken import BrokenPlugin
from receiver.plugins.context import Context
from receiver.plugins.handler import Handler
from receiver.plugins.hint import hint
from receiver.plugins.loader import Loaded, load_handlers, survey_handlers
from receiver.plugins.settings import Settings

__all__ = [
    "BrokenPlugin",
    "Context",
    "Handler",
    "Loaded",
    "Settings",
    "hint",
    "load_handlers",
    "on",
    "survey_handlers",
]
