"""Requests that two readers might read differently.

`{id}` is the attack's own number, of four digits, by which it is known again behind the gateway.

`SMUGGLED` is the request that an attacker hides, and that must never arrive as one.
"""

from __future__ import annotations

from dataclasses import dataclass

SMUGGLED = b"GET /media/pet-images/smuggled-{id} HTTP/1.1\r\nHost: shop\r\n\r\n"
GOOD = "/store-image?attack-{id}"


@dataclass(frozen=True)
class Attack:
    """What is sent, and the targets of the requests that may arrive behind the gateway: none where it must be refused."""

    data: bytes
    arrives: tuple[str, ...] = ()

    def numbered(self, number: int) -> Attack:
        name = str(1000 + number)
        arrives = tuple(target.replace("{id}", name) for target in self.arrives)
        return Attack(self.data.replace(b"{id}", name.encode()), arrives)


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join((b"POST " + GOOD.encode() + b" " + version, b"Host: shop", *lines, b"", body))


def get(
    *lines: bytes, line: bytes = b"GET /media/pet-images/attack-{id} HTTP/1.1", host: bytes = b"Host: shop"
) -> bytes:
    return b"\r\n".join((line, *((host,) if host else ()), *lines, b"", b""))


def refused(data: bytes) -> Attack:
    return Attack(data)


def taken(data: bytes, *targets: str) -> Attack:
    return Attack(data, targets or (GOOD,))


CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
HIDDEN = b"0\r\n\r\n" + SMUGGLED
TE = b"Transfer-Encoding: chunked"
GET_TARGET = "/media/pet-images/attack-{id}"
LENGTH = b"Content-Length: %d" % len(HIDDEN)

TWO_LENGTHS: dict[str, Attack] = {
    "CL before TE": refused(post(LENGTH, TE, body=HIDDEN)),
    "TE before CL": refused(post(TE, LENGTH, body=HIDDEN)),
    "CL 0 and TE": refused(post(b"Content-Length: 0", TE, body=CHUNKS)),
    "TE twice": refused(post(TE, TE, body=HIDDEN)),
    "TE chunked and identity": refused(post(TE, b"Transfer-Encoding: identity", LENGTH, body=HIDDEN)),
    "CL twice, different": refused(post(LENGTH, b"Content-Length: 0", body=HIDDEN)),
    "CL twice, different, the other way": refused(post(b"Content-Length: 0", LENGTH, body=HIDDEN)),
    "CL twice, the same": refused(post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    "CL in a list": refused(post(b"Content-Length: 5, 5", body=b"hello")),
    "CL in a list, different": refused(post(b"Content-Length: 0, 44", body=HIDDEN)),
    **{
        f"CL {value!r}": refused(post(b"Content-Length: " + value, body=b"hello" + SMUGGLED))
        for value in (
            b"+5",
            b"-5",
            b"5 5",
            b"0x5",
            b"5.0",
            b"5e0",
            b"",
            b"5;",
            b"5\x0b",
            b"\x0c5",
            b'"5"',
            b"five",
            b"5\x00",
            b"5_0",
            b"\xd9\xa5",
            b"\xef\xbc\x95",
            b"18446744073709551621",
            b"0000000000000000000000005",
            b"-0",
            b"NaN",
        )
    },
    "CL with a space before the colon": refused(post(b"Content-Length : 5", body=b"hello")),
    "CL with a tab before the colon": refused(post(b"Content-Length\t: 5", body=b"hello")),
    "CL folded": refused(post(b"Content-Length:\r\n 5", body=b"hello")),
    "CL with an underscore": taken(
        post(b"Content_Length: %d" % len(SMUGGLED), b"Content-Length: 5", body=b"hello"), GOOD
    ),
    "CL with zeros before it": taken(post(b"Content-Length: 0005", body=b"hello")),
    "CL in another case": taken(post(b"cOnTeNt-LeNgTh: 5", body=b"hello")),
    "CL too short: what is over is no request": taken(post(b"Content-Length: 5", body=b"hello, there" + SMUGGLED)),
    "GET with a body that is a request": taken(get(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, GET_TARGET),
    "HEAD with a body that is a request": taken(
        get(b"Content-Length: %d" % len(SMUGGLED), line=b"HEAD /media/pet-images/attack-{id} HTTP/1.1") + SMUGGLED,
        GET_TARGET,
    ),
}

ENCODINGS: dict[str, Attack] = {
    **{
        f"TE {value!r}": refused(post(b"Transfer-Encoding: " + value, LENGTH, body=HIDDEN))
        for value in (b"xchunked", b"chunked, identity", b"identity", b"", b"gzip, chunked", b"chunked\x0b", b"chunk")
    },
    **{
        f"TE {value!r} alone": refused(post(b"Transfer-Encoding: " + value, body=HIDDEN))
        for value in (
            b"xchunked",
            b"chunked-",
            b"chunked, identity",
            b"identity, chunked",
            b"chunked, chunked",
            b"identity",
            b"",
            b"gzip, chunked",
            b"chunked;q=1",
            b'"chunked"',
            b"'chunked'",
            b"\x0bchunked",
            b"chunked\x0b",
            b"chunked\x0c",
            b"chunked\x00",
            b"chun\x00ked",
            b"chunk",
            b"chunke\xc4\x91",
            b"cow",
            b",chunked",
            b"chunked,",
            b"\xa0chunked",
            b"chunked\x85",
            b"[chunked]",
            b"chunked;",
            b"deflate",
        )
    },
    "TE with a space before the colon": refused(post(b"Transfer-Encoding : chunked", body=HIDDEN)),
    "TE with a tab before the colon": refused(post(b"Transfer-Encoding\t: chunked", body=HIDDEN)),
    "TE with NUL before the colon": refused(post(b"Transfer-Encoding\x00: chunked", body=HIDDEN)),
    "TE behind a space": refused(post(b" Transfer-Encoding: chunked", LENGTH, body=HIDDEN)),
    "TE behind a tab": refused(post(b"X: y", b"\tTransfer-Encoding: chunked", LENGTH, body=HIDDEN)),
    "TE folded": refused(post(b"Transfer-Encoding:\r\n chunked", body=HIDDEN)),
    "TE behind a bare LF": refused(post(b"X: y\nTransfer-Encoding: chunked", LENGTH, body=HIDDEN)),
    "TE behind a bare CR": refused(post(b"X: y\rTransfer-Encoding: chunked", LENGTH, body=HIDDEN)),
    "TE behind CR CR LF": refused(post(b"X: y\r\r\nTransfer-Encoding: chunked", LENGTH, body=HIDDEN)),
    "TE behind LF CR": refused(post(b"X: y\n\rTransfer-Encoding: chunked", LENGTH, body=HIDDEN)),
    "TE in HTTP/1.0": refused(post(TE, body=HIDDEN, version=b"HTTP/1.0")),
    "TE with letters that are none of ours": refused(post("Transfer‐Encoding: chunked".encode(), LENGTH, body=HIDDEN)),
    "TE with an underscore": taken(post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello")),
    "TE in another case": taken(post(b"tRANSFER-eNCODING: cHUNKED", body=CHUNKS)),
    "TE between spaces": refused(post(b"Transfer-Encoding: \t chunked \t", body=CHUNKS)),
    "TE without a space": taken(post(b"Transfer-Encoding:chunked", body=CHUNKS)),
    "TE named in Connection": taken(post(b"Connection: Transfer-Encoding", TE, body=CHUNKS)),
    "CL named in Connection": taken(post(b"Connection: Content-Length", b"Content-Length: 5", body=b"hello")),
}

BROKEN_CHUNKS: dict[str, bytes] = {
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with +": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with -": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with _": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a size behind a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "an empty size": b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "a size that is no number": b"g\r\nhello\r\n0\r\n\r\n",
    "a size with a dot": b"5.0\r\nhello\r\n0\r\n\r\n",
    "a size over 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a size of all bits": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a size of a thousand zeros": b"0" * 1000 + b"5\r\nhello\r\n0\r\n\r\n",
    "a bare LF behind a size": b"5\nhello\r\n0\r\n\r\n",
    "a bare CR behind a size": b"5\rhello\r\n0\r\n\r\n",
    "CR CR LF behind a size": b"5\r\r\nhello\r\n0\r\n\r\n",
    "a bare LF behind an extension": b"5;a=b\nhello\r\n0\r\n\r\n",
    "a bare CR within an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL behind a size": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "an extension of a kilobyte": b"5;" + b"x" * 1024 + b"\r\nhello\r\n0\r\n\r\n",
    "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "more data than announced": b"5\r\nhello, there\r\n0\r\n\r\n",
    "two bytes instead of CRLF": b"5\r\nhelloXX0\r\n\r\n",
    "bare LFs at the end": b"5\r\nhello\r\n0\n\n",
    "a bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "a bare LF in a trailer": b"5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
    "a trailer without a colon": b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "a trailer behind a space": b"5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    "trailers without an end": b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 3000,
    "a request where the end should be": b"5\r\nhello\r\n0\r\n" + SMUGGLED,
    "a request where a size should be": b"5\r\nhello\r\n" + SMUGGLED,
}
GOOD_CHUNKS: dict[str, bytes] = {
    "an extension": b"5;a=b;c\r\nhello\r\n0;x\r\n\r\n",
    "a size with zeros": b"0005\r\nhello\r\n000\r\n\r\n",
    "capital letters": b"A\r\n0123456789\r\n0\r\n\r\n",
    "a request in a chunk": b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
    "a Content-Length trailer": b"5\r\nhello\r\n0\r\nContent-Length: 100\r\n\r\n",
    "a Transfer-Encoding trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an Authorization trailer": b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    "a chunk for each byte": b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello" * 100) + b"0\r\n\r\n",
}
CHUNK_TRICKS: dict[str, Attack] = {
    **{f"chunks: {name}": refused(post(TE, body=body + SMUGGLED)) for name, body in BROKEN_CHUNKS.items()},
    **{f"chunks: {name}": taken(post(TE, body=body)) for name, body in GOOD_CHUNKS.items()},
}

LINES: dict[str, Attack] = {
    "LF for every line end": refused(get().replace(b"\r\n", b"\n") + SMUGGLED),
    "CR for every line end": refused(get().replace(b"\r\n", b"\r") + b"\r\n\r\n" + SMUGGLED),
    "LF behind the request line": refused(get().replace(b"\r\n", b"\n", 1)),
    "LF behind a header": refused(get(b"A: b\nB: c")),
    "LF LF as the end": refused(post(b"Content-Length: 5\n", body=b"hello")),
    "CR CR LF": refused(get(b"A: b\r")),
    "NUL in a header": refused(get(b"A: b\x00c")),
    "DEL in a header": refused(get(b"A: b\x7fc")),
    "VT in a header": refused(get(b"A: b\x0bc")),
    "a space in a header's name": refused(get(b"A B: c")),
    "no colon": refused(get(b"Header")),
    "an empty name": refused(get(b": value")),
    "a folded header": refused(get(b"A: b", b" c")),
    "a first header behind a space": refused(get(host=b" Host: shop")),
    "a name in brackets": refused(get(b"A[b]: c")),
    "a name with 8 bits": refused(get(b"\xe4: c")),
    "NUL in the target": refused(get(line=b"GET /media/pet-images/attack-{id}\x00 HTTP/1.1")),
    "a space in the target": refused(get(line=b"GET /media/pet-images/attack {id} HTTP/1.1")),
    "a tab in the target": refused(get(line=b"GET /media/pet-images/attack\t{id} HTTP/1.1")),
    "a CR in the target": refused(get(line=b"GET /media/pet-images/attack-{id}\r HTTP/1.1")),
    "two spaces": refused(get(line=b"GET  /media/pet-images/attack-{id} HTTP/1.1")),
    "tabs for spaces": refused(get(line=b"GET\t/media/pet-images/attack-{id}\tHTTP/1.1")),
    "a space at the end": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/1.1 ")),
    "a space at the beginning": refused(get(line=b" GET /media/pet-images/attack-{id} HTTP/1.1")),
    "a method with NUL": refused(get(line=b"G\x00ET /media/pet-images/attack-{id} HTTP/1.1")),
    "a method with a colon": refused(get(line=b"GET: /media/pet-images/attack-{id} HTTP/1.1")),
    "a method of letters of no alphabet": refused(get(line=b"G\xcbT /media/pet-images/attack-{id} HTTP/1.1")),
    "a lower-case method": refused(get(line=b"get /media/pet-images/attack-{id} HTTP/1.1")),
}

FORMS: dict[str, Attack] = {
    "HTTP/0.9": refused(b"GET /media/pet-images/attack-{id}\r\n\r\n"),
    "HTTP/0.9 in the line": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/0.9")),
    "HTTP/1.2": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/1.2")),
    "HTTP/1": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/1")),
    "HTTP/1.10": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/1.10")),
    "HTTP/01.1": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/01.1")),
    "HTTP/1.1 twice": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/1.1 HTTP/1.1")),
    "HTTP/2": refused(get(line=b"GET /media/pet-images/attack-{id} HTTP/2.0")),
    "HTTP/2's preface": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    "http/1.1": refused(get(line=b"GET /media/pet-images/attack-{id} http/1.1")),
    "HTTPS/1.1": refused(get(line=b"GET /media/pet-images/attack-{id} HTTPS/1.1")),
    "TLS": refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n"),
    "absolute form": taken(get(line=b"GET http://shop/media/pet-images/attack-{id} HTTP/1.1"), GET_TARGET),
    "absolute form of another host": taken(
        get(line=b"GET HTTPS://evil.example:8/media/pet-images/attack-{id} HTTP/1.1"), GET_TARGET
    ),
    "absolute form with a query": taken(
        get(line=b"GET http://shop/media/pet-images/attack-{id}?w=160&u=http://x/ HTTP/1.1"),
        GET_TARGET + "?w=160&u=http://x/",
    ),
    "absolute form without a Host in HTTP/1.0": taken(
        get(host=b"", line=b"GET http://shop/media/pet-images/attack-{id} HTTP/1.0"), GET_TARGET
    ),
    "absolute form of the inside": refused(get(line=b"GET http://127.0.0.1:8001/internal/attack-{id} HTTP/1.1")),
    "absolute form without a Host": refused(
        get(host=b"", line=b"GET http://shop/media/pet-images/attack-{id} HTTP/1.1")
    ),
    "absolute form with a bad Host": refused(
        get(host=b"Host: a/b", line=b"GET http://shop/media/pet-images/attack-{id} HTTP/1.1")
    ),
    "absolute form with a user": refused(get(line=b"GET http://me@shop/media/pet-images/attack-{id} HTTP/1.1")),
    "absolute form without an authority": refused(get(line=b"GET http:///media/pet-images/attack-{id} HTTP/1.1")),
    "absolute form with two slashes": refused(get(line=b"GET http://shop//media/attack-{id} HTTP/1.1")),
    "an escape that is not UTF-8": refused(get(line=b"GET /media/pet-images/attack-{id}%ff HTTP/1.1")),
    "an escape cut within a character": refused(get(line=b"GET /media/pet-images/attack-{id}?q=%e2%82 HTTP/1.1")),
    "absolute form of a file": refused(get(line=b"GET file:///media/pet-images/attack-{id} HTTP/1.1")),
    "authority form": refused(get(line=b"GET shop:80 HTTP/1.1")),
    "asterisk form": refused(get(line=b"GET * HTTP/1.1")),
    "a target without a slash": refused(get(line=b"GET media/pet-images/attack-{id} HTTP/1.1")),
    "a query without a path": refused(get(line=b"GET ?attack-{id} HTTP/1.1")),
    "a fragment": refused(get(line=b"GET /media/pet-images/attack-{id}#x HTTP/1.1")),
    "two slashes": refused(get(line=b"GET //evil.example/media/attack-{id} HTTP/1.1")),
    "CONNECT": refused(get(line=b"CONNECT 127.0.0.1:8001 HTTP/1.1") + SMUGGLED),
    "TRACE": refused(get(line=b"TRACE /media/pet-images/attack-{id} HTTP/1.1")),
    "an unknown method": refused(get(line=b"BREW /media/pet-images/attack-{id} HTTP/1.1")),
    "no Host": refused(get(host=b"")),
    "two Hosts": refused(get(b"Host: evil.example")),
    "two Hosts, the same": refused(get(b"Host: shop")),
    "two Hosts in one": refused(get(host=b"Host: shop, evil.example")),
    "a Host with a path": refused(get(host=b"Host: shop/evil")),
    "a Host with a user": refused(get(host=b"Host: user@shop")),
    "a Host with a space": refused(get(host=b"Host: shop evil")),
    "a Host with a space before the colon": refused(get(b"Host : evil.example")),
    "an empty Host": refused(get(host=b"Host: ")),
    "a Host with a long port": refused(get(host=b"Host: shop:8080808080")),
    "a Host with a letter for a port": refused(get(host=b"Host: shop:x")),
    "a Host with 8 bits": refused(get(host=b"Host: sh\xf6p")),
    "HTTP/1.0 with two Hosts": refused(get(b"Host: evil.example", line=b"GET /media/pet-images/attack-{id} HTTP/1.0")),
    "HTTP/1.0 without a Host": taken(get(host=b"", line=b"GET /media/pet-images/attack-{id} HTTP/1.0"), GET_TARGET),
    "empty lines before": taken(b"\r\n\r\n" + get(), GET_TARGET),
}

SECOND = get(line=b"GET /media/pet-images/attack-{id}-b HTTP/1.1")
SECOND_TARGET = GET_TARGET + "-b"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: eA==")
ORDER: dict[str, Attack] = {
    "two requests": taken(get() + SECOND, GET_TARGET, SECOND_TARGET),
    "a body and a request": taken(post(b"Content-Length: 5", body=b"hello") + SECOND, GOOD, SECOND_TARGET),
    "chunks and a request": taken(post(TE, body=CHUNKS) + SECOND, GOOD, SECOND_TARGET),
    "HEAD and a request": taken(
        get(line=b"HEAD /media/pet-images/attack-{id} HTTP/1.1") + SECOND, GET_TARGET, SECOND_TARGET
    ),
    "thirty requests": taken(
        b"".join(get(line=b"GET /media/pet-images/attack-{id}-%d HTTP/1.1" % number) for number in range(30)),
        *(f"{GET_TARGET}-{number}" for number in range(30)),
    ),
    "a request behind Connection: close": taken(get(b"Connection: close") + SMUGGLED, GET_TARGET),
    "a request behind HTTP/1.0": taken(get(line=b"GET /media/pet-images/attack-{id} HTTP/1.0") + SMUGGLED, GET_TARGET),
    "a bad request behind a good one": taken(get() + get(b"A B: c"), GET_TARGET),
    "a request behind a bad one": refused(get(b"A B: c") + SMUGGLED),
    "a request behind a refused method": refused(get(line=b"CONNECT shop:1 HTTP/1.1") + SMUGGLED),
    "a request in the body of a refused one": refused(
        get(b"Content-Length: %d" % len(SMUGGLED), line=b"POST /api/images/upload?attack-{id} HTTP/1.1") + SMUGGLED
    ),
    "a request in the body of an unknown path": refused(
        get(b"Content-Length: %d" % len(SMUGGLED), line=b"POST /nothing?attack-{id} HTTP/1.1") + SMUGGLED
    ),
    "a request in the body of a body too large": refused(
        get(b"Content-Length: 99999999999", line=b"POST /store-image?attack-{id} HTTP/1.1") + SMUGGLED
    ),
    "a request in an encoded body": refused(
        post(b"Content-Encoding: gzip", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)
    ),
    "an upgrade": taken(get(*UPGRADE), GET_TARGET),
    "an upgrade and a request behind it": taken(get(*UPGRADE) + SMUGGLED, GET_TARGET),
    "an upgrade with a body": taken(post(*UPGRADE, b"Content-Length: 5", body=b"hello")),
    "an upgrade with a body that is a request": taken(
        post(*UPGRADE, b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)
    ),
    "an upgrade with chunks": taken(post(*UPGRADE, TE, body=CHUNKS)),
    "an upgrade with chunks and a request behind": taken(post(*UPGRADE, TE, body=CHUNKS) + SMUGGLED),
    "an upgrade to HTTP/2": taken(
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        GET_TARGET,
    ),
    "an upgrade to TLS": taken(get(b"Connection: Upgrade", b"Upgrade: TLS/1.3"), GET_TARGET),
    "an upgrade that Connection does not name": taken(get(b"Upgrade: websocket"), GET_TARGET),
    "Expect and a body that did not wait": taken(post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello")),
    "Expect of something else": refused(post(b"Expect: 200-ok", b"Content-Length: 5", body=b"hello") + SMUGGLED),
    "Expect twice": refused(
        post(b"Expect: 100-continue", b"Expect: x", b"Content-Length: 5", body=b"hello") + SMUGGLED
    ),
}

SUITES: dict[str, dict[str, Attack]] = {
    "two lengths": TWO_LENGTHS,
    "encodings": ENCODINGS,
    "chunks": CHUNK_TRICKS,
    "lines": LINES,
    "forms": FORMS,
    "order": ORDER,
}
ATTACKS = {f"{suite}: {name}": attack for suite, attacks in SUITES.items() for name, attack in attacks.items()}
