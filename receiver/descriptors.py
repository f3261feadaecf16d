"""How many connections may be open: the process has so many file descriptors, and some are for other things.

The log, handlers and their requests need descriptors, too, and when there is none left nothing works. The
rule easiest to break: connections that arrive at once are all taken in before any of them can be counted, so
the share that is kept free has to be several times as large as what is taken in at once.
"""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

LARGEST_BURST: Final = 1024
OTHERS: Final = 32
"""What the log, the listeners and the interpreter have open."""
TURNS: Final = 4
"""How often connections are taken in before the first of them is counted, and those too many are closed."""


class Share(NamedTuple):
    """What the public listener may use."""

    connections: int
    burst: int
    """How many connections it takes in at once; the system keeps as many waiting."""


def share() -> Share:
    """By the limit of this process (`ulimit -n`, `LimitNOFILE=`): at least half of it for connections."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 2**20
    burst = min(LARGEST_BURST, max(4, (limit // 2 - OTHERS) // TURNS))
    return Share(max(4, limit - OTHERS - TURNS * burst), burst)
