"""`klenhook sandbox`: runs a local Klen, and tells a running one what to do.

run.py    the command itself, and what it prints at the start
play.py   `play`: a story on a sandbox of its own, and what the log must show after it
talk.py   `outage`, `jump`, `burst`, `rotate`, `deliveries`: requests to a running sandbox
"""

from __future__ import annotations

from receiver.cli.sandbox.play import play
from receiver.cli.sandbox.run import sandbox
from receiver.cli.sandbox.talk import burst, deliveries, jump, outage, rotate

__all__ = ["sandbox"]

for command in (play, outage, jump, burst, rotate, deliveries):
    sandbox.add_command(command)
