"""Requests that no decent client sends, and the status that answers each. They are made when they
are asked for: some have megabytes."""

from tests.torture.http.onthewire import HOST, JSON, TARGETS, announced, chunked, get, head, post

MALFORMED, TOO_LARGE, INVALID, TOO_LONG = 400, 413, 422, 431
NOWHERE, OTHERWISE, ANYHOW = 404, 405, 200
ASSET = b"/docs/assets/swagger-ui.css"
TARGET = TARGETS + b"/iqn.2026-01.test:none"
LONG = 13 << 20
CHUNKED = b"Transfer-Encoding: chunked"
POST = b"POST " + TARGETS + b" HTTP/1.1"
GET = b"GET /healthz HTTP/1.1"

Requests = dict[str, tuple[bytes, int]]


def other_protocols() -> Requests:
    return {
        "HTTP/0.9": (b"GET /healthz\r\n\r\n", MALFORMED),
        "HTTP/2, knowing": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", MALFORMED),
        "HTTP/2, asking": (
            get(b"/healthz", b"Connection: upgrade, http2-settings", b"Upgrade: h2c"),
            ANYHOW,
        ),
        "web socket": (get(b"/healthz", b"Connection: upgrade", b"Upgrade: websocket"), ANYHOW),
        "TLS": (b"\x16\3\1\0\xa5\1\0\0\xa1\3\3" + b"x" * 160, MALFORMED),
        "empty lines": (b"\r\n" * 1000 + get(), MALFORMED),
    }


def first_lines() -> Requests:
    return {
        "NUL in a path": (get(b"/\0"), MALFORMED),
        "encoded NUL in a path": (get(b"/%00"), NOWHERE),
        "bytes in a path": (get(b"/\xff\xfe"), MALFORMED),
        "encoded bytes in a path": (get(TARGETS + b"/%ff%fe"), NOWHERE),
        "a path of 13 MB": (get(b"/" + b"x" * LONG), TOO_LONG),
        "a query of 13 MB": (get(b"/healthz?" + b"x" * LONG), TOO_LONG),
        "4,000 parameters": (
            head(b"DELETE " + TARGET + b"?" + b"a=1&" * 4000 + b" HTTP/1.1", HOST),
            NOWHERE,
        ),
        "a LUN of many digits": (get(TARGET + b"/lun_list/" + b"1" * 10_000), NOWHERE),
        "an absolute URI": (get(b"http://localhost/healthz"), NOWHERE),
        "somebody else's URI": (get(b"http://evil.example/healthz"), NOWHERE),
        "CONNECT": (head(b"CONNECT evil.example:443 HTTP/1.1", HOST), NOWHERE),
        "OPTIONS *": (head(b"OPTIONS * HTTP/1.1", HOST), NOWHERE),
        "a method of 10,000 letters": (
            head(b"A" * 10_000 + b" /healthz HTTP/1.1", HOST),
            OTHERWISE,
        ),
    }


def headers() -> Requests:
    return {
        "no Host": (head(GET), MALFORMED),
        "two Hosts": (head(GET, HOST, HOST), MALFORMED),
        "a folded Host": (head(GET, b"Host: local\r\n host"), MALFORMED),
        "a folded header": (get(b"/healthz", b"X: a\r\n b\r\n\tc"), ANYHOW),
        "NUL in a header": (get(b"/healthz", b"X: a\0b"), MALFORMED),
        "a blank before a colon": (get(b"/healthz", b"Transfer-Encoding : chunked"), MALFORMED),
        "a header of 17 KiB": (get(b"/healthz", b"X: " + b"x" * (17 << 10)), TOO_LONG),
        "a header of 13 MB": (get(b"/healthz", b"X: " + b"x" * LONG), TOO_LONG),
        "13 MB of headers": (get(b"/healthz", *[b"X: x"] * (LONG // 6)), TOO_LONG),
        "4,000 headers": (get(b"/healthz", *[b"X:"] * 4000), TOO_LONG),
        "800 ranges": (
            get(ASSET, b"Range: bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(800))),
            ANYHOW,
        ),
        "a range beyond the end": (get(ASSET, b"Range: bytes=99999999-"), ANYHOW),
        "no range": (get(ASSET, b"Range: bytes=x-y"), ANYHOW),
    }


def lengths() -> Requests:
    return {
        "two lengths": (
            head(POST, HOST, JSON, b"Content-Length: 2", b"Content-Length: 40") + b"{}" + get(),
            MALFORMED,
        ),
        "a length and chunks": (
            head(POST, HOST, JSON, b"Content-Length: 2", CHUNKED) + b"2\r\n{}\r\n0\r\n\r\n" + get(),
            MALFORMED,
        ),
        "chunks twice": (chunked(b"0\r\n\r\n", CHUNKED), MALFORMED),
        "other chunks": (head(POST, HOST, JSON, b"Transfer-Encoding: xchunked"), MALFORMED),
        "a negative length": (head(POST, HOST, JSON, b"Content-Length: -1"), MALFORMED),
        "a length of 5,000 digits": (
            head(POST, HOST, JSON, b"Content-Length: " + b"9" * 5000),
            MALFORMED,
        ),
        "10 GB to come": (announced(10 << 30), TOO_LARGE),
        "10 GB to come when told": (announced(10 << 30, b"Expect: 100-continue"), TOO_LARGE),
        "a chunk of no size": (chunked(b"xx\r\n"), MALFORMED),
        "a chunk of a huge size": (chunked(b"f" * 15 + b"\r\n" + b" " * (2 << 20)), TOO_LARGE),
        "13 MB about a chunk": (chunked(b"2;" + b"x" * LONG), TOO_LONG),
        "13 MB after the chunks": (
            chunked(b"2\r\n{}\r\n0\r\n" + b"X: x\r\n" * (LONG // 6)),
            TOO_LONG,
        ),
    }


def bodies() -> Requests:
    return {
        "100,000 lists in each other": (post(b"[" * 100_000), MALFORMED),
        "100,000 objects in each other": (post(b'{"a":' * 100_000), MALFORMED),
        "a hundred thousand keys": (
            post(b"{" + b",".join(b'"%x":1' % key for key in range(90_000)) + b"}"),
            MALFORMED,
        ),
        "a million keys": (
            post(b"{" + b",".join(b'"%x":1' % key for key in range(1_000_000)) + b"}"),
            TOO_LARGE,
        ),
        "one key 100,000 times": (post(b"{" + b'"a":1,' * 100_000 + b'"a":1}'), MALFORMED),
        "300,000 lists": (post(b'{"iqn":[' + b"[]," * 300_000 + b"[]]}"), INVALID),
        "500,000 addresses": (
            head(b"PUT " + TARGET + b" HTTP/1.1", HOST, JSON, b"Content-Length: 1000027")
            + b'{"initiator_addr_list":['
            + b"1," * 500_000
            + b"1]}",
            INVALID,
        ),
        "a number of 100,000 digits": (post(b'{"iqn":' + b"9" * 100_000 + b"}"), MALFORMED),
        "a number beyond all": (post(b'{"iqn":1e999999}'), INVALID),
        "half a character": (post(b'{"iqn":"\xc3\x28"}'), MALFORMED),
        "half a pair": (post(b'{"iqn":"\\ud800"}'), INVALID),
        "UTF-16": (post(b"\xff\xfe{\0}\0"), MALFORMED),
    }


GROUPS = (other_protocols, first_lines, headers, lengths, bodies)
