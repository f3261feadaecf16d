"""Append a row to a CSV file for every appointment that is booked, once, for a spreadsheet or an import.

    [handlers.csv_row]
    file = "/var/lib/klenhook/booked.csv"

A plain function, so klenhook runs it in a thread. A run may be repeated after a crash, so it looks for the
event's id before it writes; one call at a time, so that two never write at once.
"""

from __future__ import annotations

import csv
from pathlib import Path

from receiver import CalendarCreated, Context, Settings, on

COLUMNS = ["event_id", "start", "title", "name", "email", "phone"]


class CsvSettings(Settings):
    """Which file."""

    file: Path = Path("booked.csv")
    """Made if it is not there. A relative path starts where the service was started."""


@on(CalendarCreated, concurrency=1)
def csv_row(event: CalendarCreated, ctx: Context[CsvSettings]) -> None:
    """Append the row, and the heading to a new file."""
    appointment, customer = event.calendar_event, event.calendar_event.customer
    start = appointment.start_time.isoformat() if appointment.start_time else ""
    row = [event.event_id, start, appointment.title, customer.name, customer.email, customer.phone]
    with ctx.settings.file.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        known = {line[0] for line in csv.reader(file) if line}
        if event.event_id in known:
            return
        writer = csv.writer(file)
        if not known:
            writer.writerow(COLUMNS)
        writer.writerow([harmless(cell or "") for cell in row])


def harmless(cell: str) -> str:
    """Text that a spreadsheet shows, and does not run as a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
