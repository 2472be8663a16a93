"""`PUBLIC_URL` from outside in: its certificate, and what a proxy before the gateway does to addresses and bodies."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator

import aiohttp
from PIL import Image
from yarl import URL

from gateway.admission import DOCTOR_HEADER
from gateway.settings import GatewaySettings
from shared.auth.access_tokens import sign_service_token
from shared.http.body import size_text
from shared.http.clients import is_in
from shared.settings import LOOPBACK_HOSTS
from stack.doctor.findings import Finding, right, shown, unknown, wrong
from stack.doctor.services import local_url, name_at

EXPIRES_SOON_S = 14 * 24 * 3600
CLAIMED = "192.0.2.1"  # of no machine (RFC 5737)
PIECE_BYTES = 64 * 1024
# The gateway may take 15 s for an answer, and an event's comment comes as often: a proxy with a shorter time-out cuts both.
PAUSE_S = 16.0
GIVEN_BACK_S = 8.0
PROXIES = 'see "A proxy before the gateway" in docs/operations.md.'
TEMP_UPLOAD, RETRIEVE = "/api/temp-image-upload", "/api/temp-image-retrieve"


class Outside:
    """The checks of one `PUBLIC_URL`; `ca` is a certificate authority to trust beside the system's."""

    def __init__(self, settings: GatewaySettings, ca: str | None = None) -> None:
        self._settings = settings
        self._url = URL(settings.public_url)
        self._tls = ssl.create_default_context()
        if ca is not None:
            self._tls.load_verify_locations(ca)

    async def check(self) -> AsyncIterator[Finding]:
        """Ask the gateway itself first: where it does not run, there is nothing to be reached."""
        if self._url.scheme == "https":
            yield await self._certificate()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls)) as http:
            if await self._seen(http, local_url(self._settings)) is None:
                if await name_at(http, local_url(self._settings)) == "gateway":
                    says = "the gateway here refuses our token: it has another INTERNAL_SECRET than this one."
                    yield wrong("PUBLIC_URL", says, "start it anew with the same INTERNAL_SECRET.")
                else:
                    yield unknown("PUBLIC_URL", "the gateway does not run here: ask again when it does.")
                return
            seen = await self._seen(http, str(self._url))
            if seen is None:
                yield wrong(
                    "PUBLIC_URL", f"{shown(self._url)} does not lead to this gateway.", "look at the proxy and at DNS."
                )
                return
            yield right("PUBLIC_URL", f"{shown(self._url)} leads to this gateway.")
            if self._url.host in LOOPBACK_HOSTS and self._url.port == self._settings.port:
                return  # no proxy
            yield self._addresses(seen)
            for finding in await asyncio.gather(self._sizes(http), self._pauses(http), self._one_time(http)):
                yield finding

    async def _certificate(self) -> Finding:
        what = "certificate"
        try:
            _, writer = await asyncio.open_connection(self._url.host, self._url.port, ssl=self._tls)
        except ssl.SSLCertVerificationError as error:
            return wrong(what, f"browsers refuse it: {error.verify_message}.", "renew it, with its whole chain.")
        except OSError as error:
            return wrong(what, f"no TLS at {self._url.host_port_subcomponent} ({type(error).__name__}).", PROXIES)
        ends = ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"])
        writer.close()
        days = (ends - time.time()) // 86400
        if ends - time.time() < EXPIRES_SOON_S:
            return wrong(what, f"it ends in {days:.0f} days.", "renew it, and see why that is not done by itself.")
        return right(what, f"it is trusted, and ends in {days:.0f} days.")

    async def _seen(self, http: aiohttp.ClientSession, url: str) -> dict[str, str] | None:
        """Return who the gateway takes the doctor for; None where it is not the gateway that answers."""
        token = sign_service_token(self._settings.internal_secret, caller="doctor", audience="gateway")
        headers = {DOCTOR_HEADER: token, "X-Forwarded-For": CLAIMED}
        try:
            async with http.get(f"{url}/health", headers=headers, allow_redirects=False) as answer:
                seen = (await answer.json(content_type=None))["seen"]
                return dict(seen)
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError):
            return None

    def _addresses(self, seen: dict[str, str]) -> Finding:
        what = "TRUSTED_PROXIES"
        if not is_in(ipaddress.ip_address(seen["peer"]), self._settings.trusted_proxies):
            says = f"the proxy at {seen['peer']} is not in it: all clients count as one, and METRICS_ALLOW may hold them all."
            return wrong(what, says, f"add {seen['peer']}.")
        if seen["address"] == CLAIMED:
            return wrong(what, "the proxy passes on what clients claim to be: anybody may be anybody.", PROXIES)
        if seen["scheme"] != self._url.scheme:
            return wrong(what, f"the proxy does not say that clients use {self._url.scheme}.", PROXIES)
        return right(what, f"clients are told apart: you are {seen['address']}.")

    async def _sizes(self, http: aiohttp.ClientSession) -> Finding:
        """Send as much as an order may have, without a token: the gateway refuses for that, a proxy for the size."""
        what, settings = "body size", self._settings
        size = settings.max_files_per_order * settings.max_upload_size

        async def zeros() -> AsyncIterator[bytes]:
            for _ in range(size // PIECE_BYTES):
                yield bytes(PIECE_BYTES)

        headers = {
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": str(size // PIECE_BYTES * PIECE_BYTES),
        }
        try:
            data = aiohttp.AsyncIterablePayload(zeros())
            async with http.post(f"{self._url}/api/images/upload", data=data, headers=headers) as answer:
                status = answer.status
        except aiohttp.ClientError:
            status = 0
        if status != 401:
            return wrong(what, f"the proxy does not let {size_text(size)} through ({status or 'cut'}).", PROXIES)
        return right(what, f"{size_text(size)}, as much as an order may have, go through.")

    async def _pauses(self, http: aiohttp.ClientSession) -> Finding:
        """Stand still in the middle of an upload, as phones do."""

        async def slowly() -> AsyncIterator[bytes]:
            yield b"--b\r\n"
            await asyncio.sleep(PAUSE_S)
            yield b"--b--\r\n"

        what, headers = "time-outs", {"Content-Type": "multipart/form-data; boundary=b"}
        try:
            data = aiohttp.AsyncIterablePayload(slowly())
            async with http.post(f"{self._url}{TEMP_UPLOAD}", data=data, headers=headers) as answer:
                fine = answer.status == 400  # the gateway's own: there is no image in it
        except aiohttp.ClientError:
            fine = False
        if not fine:
            return wrong(what, f"the proxy cuts a body that stands still for {PAUSE_S:g} s.", PROXIES)
        return right(what, f"a body may stand still for {PAUSE_S:g} s.")

    async def _one_time(self, http: aiohttp.ClientSession) -> Finding:
        """Break off a download of a one-time image: it must be there again."""
        what = "one-time images"
        data = aiohttp.FormData()
        data.add_field("image", io.BytesIO(_large_image(self._settings.temp_image_max_size)), filename="doctor.png")
        async with http.post(f"{local_url(self._settings)}{TEMP_UPLOAD}", data=data) as answer:
            if answer.status != 200:
                return unknown(what, f"no image could be uploaded ({answer.status}).")
            image_id = (await answer.json())["imageId"]
        await self._break_off(image_id)
        for _ in range(int(GIVEN_BACK_S * 4)):
            async with http.get(f"{local_url(self._settings)}{RETRIEVE}", params={"imageId": image_id}) as answer:
                await answer.read()
                if answer.status == 200:
                    return right(what, "a download that breaks off leaves the image there.")
            await asyncio.sleep(0.25)
        return wrong(what, "the proxy gathers answers: a download that breaks off behind it loses the image.", PROXIES)

    async def _break_off(self, image_id: str) -> None:
        tls, loop = self._tls if self._url.scheme == "https" else None, asyncio.get_running_loop()
        host, port = self._url.host or "", self._url.port
        family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
        sock = socket.socket(family, kind, protocol)
        # Set before it connects: bytes that wait in this system's buffer count as delivered, too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname=host if tls else None, limit=1024
        )
        writer.write(
            f"GET {RETRIEVE}?imageId={image_id} HTTP/1.1\r\nHost: {self._url.host_port_subcomponent}\r\n\r\n".encode()
        )
        await reader.read(1)
        await asyncio.sleep(0.5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


def _large_image(max_bytes: int) -> bytes:
    """Return an image as large as a temporary one may be: less might all wait in a proxy's buffers."""
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "PNG")
    return small.getvalue().ljust(max_bytes - 4096, b"\0")
