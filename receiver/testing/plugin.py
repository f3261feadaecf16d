"""The pytest fixture `klenhook_service`: as many services as a test wants, each in a folder of its own.

The rule easiest to break: pytest imports this file in every suite of an environment that has klenhook, so
nothing heavy is imported before the fixture is used.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from receiver.testing.service import LocalService


@pytest.fixture
def klenhook_service(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[LocalService]]:
    """A function that starts a service each time it is called, to be used with `async with`.

    The options are those of `receiver.testing.local_service`, but for the folder, which is the test's own.
    """
    from receiver.testing.service import local_service  # noqa: PLC0415 -- see the top

    numbers = count(1)

    def start(**options: Any) -> AbstractAsyncContextManager[LocalService]:
        return partial(local_service, tmp_path / f"klenhook-{next(numbers)}")(**options)

    return start
