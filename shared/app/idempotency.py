"""`Idempotency-Key`: the same key and content from the same caller give the first answer again, for 24 hours."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.app.idempotency_key import key_in_use, key_of, key_reused
from shared.app.middleware import REQUEST_ID
from shared.app.responses import PRIVATE
from shared.auth.access_tokens import identify_if_any, vouched_address
from shared.clock import utc_now
from shared.concurrency.periodic import renewing
from shared.errors import KeepsakeError
from shared.http.problem import CONTENT_TYPE, problem_body
from shared.log import get_logger
from shared.persistence.engine import Database, UtcDateTime

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=20)
RENEW_S = 6.0
# These say something about the caller or the moment, not about the content: the next try may well succeed.
NOT_REMEMBERED = frozenset({401, 403, 408, 429})


def idempotency_table(metadata: sa.MetaData, service: str) -> sa.Table:
    """Return the table of one service; its migration creates it, and services may share a database."""
    return sa.Table(
        f"{service}_idempotency_keys",
        metadata,
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False, index=True),
        sa.Column("leased_until", UtcDateTime, nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("status", sa.Integer),  # NULL while the first request runs
        sa.Column("content_type", sa.Text),
        sa.Column("body", sa.LargeBinary),
    )


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to a key, and the content it answered."""

    fingerprint: str
    status: int
    content_type: str
    body: bytes


class _Replay(Exception):
    """No error: it carries the first answer past the work that made it."""

    def __init__(self, answer: StoredAnswer) -> None:
        super().__init__()
        self.answer = answer


class Reservation:
    """One request's hold on a key; one without a key lets everything pass."""

    def __init__(self, keys: IdempotencyKeys | None = None, scope: str = "", known: StoredAnswer | None = None) -> None:
        self._keys = keys
        self._known = known
        self.scope = scope
        self.owner = uuid4().hex
        self.fingerprint: str | None = None

    def check(self, *content: bytes) -> None:
        """Say what the request's content is, as soon as it is known and before anything is done.

        Ends the work with the first answer where the key has one for this content; raises NotAllowedValue
        (`idempotency_key_reused`) where it was for other content.
        """
        digest = hashlib.sha256()
        for part in content:
            digest.update(len(part).to_bytes(8, "big") + part)
        self.fingerprint = digest.hexdigest()
        if self._known is None:
            return
        if self._known.fingerprint != self.fingerprint:
            raise key_reused()
        raise _Replay(self._known)

    async def remember(self, connection: AsyncConnection, status: int, body: bytes, content_type: str) -> None:
        """Keep the answer in the transaction that makes it true, so that no crash can come between the two."""
        if self._keys is not None:
            await self._keys.write(connection, self, status, body, content_type)


class IdempotencyKeys:
    """The keys of one service in its database."""

    def __init__(self, database: Database, table: sa.Table, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._table = table
        self._now = now

    async def run(self, request: web.Request, work: Callable[[Reservation], Awaitable[web.Response]]) -> web.Response:
        """Answer `request` by `work`, or with what it answered the first time.

        `work` calls `reservation.check` once it has read the content. Answers under 500 are remembered, and failures are not.
        Raises NotAllowedValue for a malformed key or other content, BadRequest for several keys, Conflict while the first
        request runs.
        """
        key = key_of(request)
        if key is None:
            return await work(Reservation())
        reservation = await self._begin(await _scope_of(request, key))
        try:
            async with renewing(RENEW_S, partial(self._renew, reservation)):
                return await self._answer(request, reservation, work)
        finally:
            # One that has its answer is not touched: this only clears what failed, was cancelled or was never checked.
            await asyncio.shield(self._release(reservation))

    async def _answer(
        self, request: web.Request, reservation: Reservation, work: Callable[[Reservation], Awaitable[web.Response]]
    ) -> web.Response:
        try:
            response = await work(reservation)
        except _Replay as replay:
            answer = replay.answer
            return web.Response(
                status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type, **PRIVATE}
            )
        except KeepsakeError as error:
            body = problem_body(error, request[REQUEST_ID])
            await self._end(reservation, error.status, body, CONTENT_TYPE)
            raise
        assert isinstance(response.body, bytes)  # noqa: S101 - what is remembered is small JSON, never a stream
        await self._end(reservation, response.status, response.body, response.headers["Content-Type"])
        return response

    async def forget_old(self) -> None:
        async with self._database.begin() as connection:
            await connection.execute(self._table.delete().where(self._table.c.created_at < self._now() - KEPT))

    async def write(
        self, connection: AsyncConnection, reservation: Reservation, status: int, body: bytes, content_type: str
    ) -> None:
        """Keep the answer of a reservation whose content is known, if the reservation has not lapsed to somebody else."""
        await connection.execute(
            self._table.update()
            .where(*self._mine(reservation))
            .values(fingerprint=reservation.fingerprint, status=status, body=body, content_type=content_type)
        )

    def _mine(self, reservation: Reservation) -> tuple[sa.ColumnElement[bool], ...]:
        columns = self._table.c
        return columns.scope == reservation.scope, columns.owner == reservation.owner, columns.status.is_(None)

    async def _begin(self, scope: str) -> Reservation:
        """Take the key, whose last holder may have died: then its lease is over."""
        reservation, now, columns = Reservation(self, scope), self._now(), self._table.c
        taken = {"owner": reservation.owner, "created_at": now, "leased_until": now + LEASE}
        try:
            async with self._database.begin() as connection:
                free = sa.or_(columns.created_at < now - KEPT, columns.status.is_(None) & (columns.leased_until < now))
                await connection.execute(self._table.delete().where(columns.scope == scope, free))
                await connection.execute(self._table.insert().values(scope=scope, **taken))
        except IntegrityError:
            return Reservation(self, scope, await self._known(scope))
        return reservation

    async def _known(self, scope: str) -> StoredAnswer:
        columns = self._table.c
        query = sa.select(columns.fingerprint, columns.status, columns.content_type, columns.body)
        async with self._database.read() as connection:
            found = (await connection.execute(query.where(columns.scope == scope))).one_or_none()
        if found is None or found.status is None:
            raise key_in_use()
        return StoredAnswer(*found)

    async def _renew(self, reservation: Reservation) -> None:
        async with self._database.begin() as connection:
            until = self._now() + LEASE
            await connection.execute(self._table.update().where(*self._mine(reservation)).values(leased_until=until))

    async def _end(self, reservation: Reservation, status: int, body: bytes, content_type: str) -> None:
        """Keep the answer if it is one to keep; the work is done, so a failure here is only logged."""
        if reservation.fingerprint is None or status >= 500 or status in NOT_REMEMBERED:
            return
        try:
            async with self._database.begin() as connection:
                await self.write(connection, reservation, status, body, content_type)
        except KeepsakeError as error:
            get_logger().warning("idempotent_answer_not_kept", code=error.code)

    async def _release(self, reservation: Reservation) -> None:
        with suppress(KeepsakeError):
            async with self._database.begin() as connection:
                await connection.execute(self._table.delete().where(*self._mine(reservation)))


async def caller_of(request: web.Request) -> str:
    """Return who asks: the token's `sub`, else the address that the gateway vouches for, else the peer's."""
    principal = await identify_if_any(request)
    if principal is not None:
        return f"sub:{principal.user_id}"
    return f"addr:{vouched_address(request) or request.remote}"


async def _scope_of(request: web.Request, key: str) -> str:
    resource = request.match_info.route.resource
    route = resource.canonical.rstrip("/") if resource is not None else request.path
    return hashlib.sha256("\n".join((request.method, route, await caller_of(request), key)).encode()).hexdigest()
