"""The documented views: what `log list`, `log sql` and Datasette see. Public and stable.

They are made anew by every migration, so a view may be mended without one of its own. `storage/README.md`
documents each column; a test keeps the two in step.
"""

# ruff: noqa: S608 -- constants and column names of this file only

from __future__ import annotations

from typing import Final


def _iso(column: str) -> str:
    """SQL for a time column as ISO 8601 text in UTC with milliseconds."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1000.0, 'unixepoch')"


def _field(path: str) -> str:
    """SQL for a field of a calendar event."""
    return f"json_extract(state.calendar_event, '$.{path}')"


REBOOKED_WITHIN_MS: Final = 7 * 86_400_000
"""How soon after a cancellation a booking of the same customer is likely to be in its place."""


VIEWS: Final[dict[str, str]] = {
    "events": f"""
        SELECT e.seq, e.event_id, source.name AS source, e.event_type,
            e.calendar_event_uuid, e.calendar_event_id,
            {_iso("e.occurred_at")} AS occurred_at, {_iso("e.received_at")} AS received_at,
            e.delivery_id, routing.verdict,
            (SELECT json_group_array(name) FROM (
                SELECT change.name AS name FROM change WHERE change.seq = e.seq ORDER BY change.place
            )) AS changes,
            (e.origin = 'webhook') + (SELECT count(*) FROM repeat WHERE repeat.seq = e.seq) AS deliveries,
            e.origin,
            (SELECT json_group_object(name, state) FROM (
                SELECT handler.name AS name, run.state AS state, max(run.run_id)
                FROM run JOIN handler USING (handler_id) WHERE run.seq = e.seq GROUP BY run.handler_id
            )) AS runs,
            e.title, e.status, {_iso("e.start_at")} AS start_time, {_iso("e.end_at")} AS end_time,
            lower(hex(e.body_sha256)) AS body_sha256, e.flags, CAST(e.body AS TEXT) AS body
        FROM event e JOIN source USING (source_id) LEFT JOIN routing ON routing.seq = e.seq
    """,
    "deliveries": f"""
        SELECT e.event_id, e.delivery_id, {_iso("e.received_at")} AS received_at, 'accepted' AS outcome
        FROM event e WHERE e.origin = 'webhook'
        UNION ALL
        SELECT e.event_id, repeat.delivery_id, {_iso("repeat.received_at")}, 'duplicate'
        FROM repeat JOIN event e USING (seq)
    """,
    "calendar_events": f"""
        SELECT source.name AS source, subject.uuid AS calendar_event_uuid,
            subject.number AS calendar_event_id,
            {_field("title")} AS title, {_field("event_type")} AS kind, state.status,
            {_iso("state.start_at")} AS start_time, {_iso("state.end_at")} AS end_time,
            {_field("duration_minutes")} AS duration_minutes, {_field("location")} AS location,
            {_field("video_conference_url")} AS video_conference_url,
            {_field("customer.name")} AS customer_name, {_field("customer.email")} AS customer_email,
            {_field("customer.phone")} AS customer_phone,
            {_field("ai_agent.id")} AS agent_id, {_field("ai_agent.name")} AS agent_name,
            {_field("reason")} AS reason,
            (SELECT count(*) FROM routing WHERE routing.subject_id = state.subject_id) AS events,
            state.last_seq, state.calendar_event
        FROM state JOIN subject USING (subject_id) JOIN source USING (source_id)
    """,
    "changes": f"""
        SELECT change.seq, e.event_id, source.name AS source, subject.uuid AS calendar_event_uuid,
            subject.number AS calendar_event_id, {_iso("e.occurred_at")} AS occurred_at,
            {_iso("e.received_at")} AS received_at, change.name, change.before, change.after, change.reason
        FROM change JOIN event e ON e.seq = change.seq JOIN source USING (source_id)
        JOIN routing ON routing.seq = change.seq JOIN subject USING (subject_id)
    """,
    "rebookings": f"""
        SELECT source.name AS source,
            gone_subject.uuid AS cancelled_uuid, gone_subject.number AS cancelled_id,
            {_iso("gone.cancelled_at")} AS cancelled_at, came_subject.uuid AS booked_uuid,
            came_subject.number AS booked_id, {_iso("came.booked_at")} AS booked_at
        FROM state gone JOIN subject gone_subject ON gone_subject.subject_id = gone.subject_id
        JOIN source USING (source_id)
        JOIN state came ON came.subject_id = (
            SELECT next.subject_id FROM state next JOIN subject USING (subject_id)
            WHERE next.customer = gone.customer AND next.subject_id <> gone.subject_id
                AND next.booked_at BETWEEN gone.cancelled_at AND gone.cancelled_at + {REBOOKED_WITHIN_MS}
                AND subject.source_id = gone_subject.source_id
            ORDER BY next.booked_at LIMIT 1
        ) JOIN subject came_subject ON came_subject.subject_id = came.subject_id
        WHERE gone.cancelled_at IS NOT NULL
    """,
    "runs": f"""
        SELECT run.run_id, e.event_id, e.seq, handler.name AS handler, run.state, run.attempt AS attempts,
            {_iso("run.due_at")} AS due_at, run.replay_id,
            (SELECT attempt.error FROM attempt WHERE attempt.run_id = run.run_id
                ORDER BY attempt.attempt DESC LIMIT 1) AS error
        FROM run JOIN event e ON e.seq = run.seq JOIN handler USING (handler_id)
    """,
    "attempts": f"""
        SELECT attempt.run_id, e.event_id, handler.name AS handler, attempt.attempt,
            {_iso("attempt.started_at")} AS started_at, {_iso("attempt.finished_at")} AS finished_at,
            attempt.outcome, attempt.error, attempt.code_version
        FROM attempt JOIN run USING (run_id) JOIN event e ON e.seq = run.seq JOIN handler USING (handler_id)
    """,
    "messages": f"""
        SELECT message.message_id, e.event_id, message.run_id, handler.name AS handler, message.url,
            message.idempotency_key, message.state, message.attempt AS attempts, message.status,
            message.error,
            {_iso("message.created_at")} AS created_at, {_iso("message.due_at")} AS due_at,
            {_iso("message.finished_at")} AS finished_at
        FROM message JOIN run USING (run_id) JOIN event e ON e.seq = run.seq
        JOIN handler ON handler.handler_id = message.handler_id
    """,
    "replays": f"""
        SELECT replay_id, {_iso("created_at")} AS created_at, {_iso("filled_at")} AS filled_at,
            target, selection, total, last_seq
        FROM replay
    """,
    "erasures": f"""
        SELECT erasure_id, {_iso("at")} AS forgotten_at, calendar_events, calls, events, mentions,
            quarantined, stored
        FROM erasure
    """,
    "reconciliations": f"""
        SELECT reconciliation_id, source.name AS source, {_iso("started_at")} AS started_at,
            {_iso("finished_at")} AS finished_at, first_day, last_day, cursor, requests, compared,
            (SELECT count(*) FROM found WHERE found.reconciliation_id = reconciliation.reconciliation_id)
                AS found, error
        FROM reconciliation JOIN source USING (source_id)
    """,
    "quarantine": f"""
        SELECT refused_id AS id, source.name AS source, {_iso("received_at")} AS received_at, delivery_id,
            reason, state, length(body) AS size, lower(hex(body_sha256)) AS body_sha256
        FROM refused JOIN source USING (source_id)
    """,
}
