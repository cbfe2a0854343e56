"""TLS as the service speaks it, and certificates replaced under load."""

import contextlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever import certificate
from storlever.web.san import PREFIX
from tests.pki import Authority, Pair, server_pair
from tests.world import STORLEVER, WIKI_TARGET, StorLever, folder, free_port, wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Secured:
    """A running service with an HTTPS endpoint beside its plain one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.pair = server_pair(root)
        self.authority = Authority(root)
        self.service = StorLever(
            root,
            tls_certificate=str(self.pair.certificate),
            tls_key=str(self.pair.key),
            tls_client_ca=str(self.authority.file),
            client_role="automat=reader",
        )
        made = self.service.command("token", "create", "--name", "test", "--role", "admin")
        self.authorization = f"Authorization: Bearer {made.stdout.strip()}"
        self.service.settings["listen"] += f" https://127.0.0.1:{self.port}"
        self.url = f"https://127.0.0.1:{self.port}"

    def client(self) -> ssl.SSLContext:
        """That trusts whatever certificate is shown."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made

    def connect(self, client: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), 15)
        return (client or self.client()).wrap_socket(plain)

    def shown(self) -> str:
        """The fingerprint of the certificate that a new connection is shown."""
        with self.connect() as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return certificate.read(ssl.DER_cert_to_PEM_cert(der).encode()).fingerprint

    def renew(self) -> None:
        """Replace the pair, and return once new connections see it."""
        self.pair.replace(server_pair(self.root, "new"))
        self.hang_up()
        wait_until(lambda: self.shown() == self.pair.fingerprint)

    def hang_up(self) -> None:
        assert self.service.process is not None
        self.service.process.send_signal(signal.SIGHUP)

    def logged(self) -> str:
        return self.service.log.read_text()

    def curl(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["curl", "-sS", "--max-time", "15", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with folder() as root:
        made = Secured(root)
        try:
            made.service.start()
            yield made
            assert "Traceback" not in made.logged()
        finally:
            made.service.close()


def answer(connection: ssl.SSLSocket) -> str:
    """One whole answer with a length, as text."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += received(connection)
    head, _, body = head.partition(b"\r\n\r\n")
    lines = head.decode().lower().splitlines()
    length = next(int(line.split()[1]) for line in lines if line.startswith("content-length:"))
    while len(body) < length:
        body += received(connection)
    return (head + b"\r\n\r\n" + body).decode()


def received(connection: ssl.SSLSocket) -> bytes:
    if came := connection.recv(1 << 16):
        return came
    raise ConnectionError("the other side closed the connection")


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, with or without last words."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


# -- the handshake


def test_curl_trusts_the_certificate_it_is_given_and_no_other(secured: Secured) -> None:
    path = f"{PREFIX}/target_list"
    trusting = ("--cacert", secured.pair.certificate, "-H", secured.authorization)
    done = secured.curl(*trusting, secured.url + path)
    assert (done.returncode, done.stdout) == (0, "[]")
    other = server_pair(secured.root, "other").certificate
    assert secured.curl("--cacert", other, secured.url + path).returncode == 60


def test_plain_http_is_served_beside_it(secured: Secured) -> None:
    assert secured.service.get("/target_list") == []


def test_a_created_target_is_located_by_https(secured: Secured) -> None:
    body = f'{{"iqn": "{WIKI_TARGET}"}}'
    done = secured.curl(
        *("-k", "-i", "-H", secured.authorization),
        *("-H", "Content-Type: application/json", "-d", body),
        f"{secured.url}{PREFIX}/target_list",
    )
    assert f"location: {secured.url}{PREFIX}/target_list/{WIKI_TARGET}" in done.stdout.lower()
    secured.service.api("DELETE", f"/target_list/{WIKI_TARGET}", expect=200)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_tls_1_2_is_spoken_and_1_1_refused(secured: Secured, version: ssl.TLSVersion) -> None:
    client = secured.client()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        client.minimum_version = client.maximum_version = version
    if version == ssl.TLSVersion.TLSv1_2:
        with secured.connect(client) as connection:
            assert connection.version() == "TLSv1.2"
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            secured.connect(client)


def test_http_1_1_is_what_alpn_agrees_on(secured: Secured) -> None:
    client = secured.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    with secured.connect(client) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("secure", [True, False], ids=["HTTP to HTTPS", "HTTPS to HTTP"])
def test_who_speaks_the_other_protocol_is_cut_off_at_once_without_a_fuss(
    secured: Secured, secure: bool
) -> None:
    port = secured.port if secure else secured.service.port
    before, started = secured.logged(), time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        if secure:
            connection.sendall(GET)
            assert is_closed(connection)
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                secured.client().wrap_socket(connection)
    assert time.monotonic() - started < 2
    assert "Traceback" not in secured.logged().removeprefix(before)


def test_a_certificate_of_nobody_we_know_ends_the_handshake(secured: Secured) -> None:
    stranger = Authority(secured.root, "stranger").client("joe")
    known = secured.authority.client("joe")
    assert get_as(secured, known).startswith("HTTP/1.1 200")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get_as(secured, stranger)


def get_as(secured: Secured, who: Pair) -> str:
    client = secured.client()
    client.load_cert_chain(who.certificate, who.key)
    with secured.connect(client) as connection:
        connection.sendall(GET)
        return answer(connection)


def test_an_idle_connection_takes_less_than_100_kib_of_the_services_memory(
    secured: Secured,
) -> None:
    client = secured.client()
    with secured.connect(client), contextlib.ExitStack() as stack:
        before = resident(secured)
        for _ in range(200):
            stack.enter_context(secured.connect(client))
        each = (resident(secured) - before) / 200
    print(f"{each:.0f} KiB for each of 200 connections")
    assert each < 100


def resident(secured: Secured) -> int:
    """KiB of memory that the service has."""
    assert secured.service.process is not None
    status = Path(f"/proc/{secured.service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_a_client_certificate_has_the_role_that_its_name_is_given(secured: Secured) -> None:
    """And none where it is given none; on loopback too, who comes over TLS is asked."""
    url = f"{secured.url}{PREFIX}/target_list"

    def got(pair: Pair | None, *arguments: str) -> str:
        shown = ("--cert", pair.certificate, "--key", pair.key) if pair else ()
        told = ("-o", "/dev/null", "-w", "%{http_code}", *arguments)
        return secured.curl("-k", *shown, *told, url).stdout

    automat, joe = secured.authority.client("automat"), secured.authority.client("joe")
    assert got(None) == "401"
    assert got(automat) == "200"
    assert got(automat, "-X", "POST") == "403"
    assert got(joe) == "403"
    assert got(secured.authority.client("automat", "joe")) == "401", "whose is it?"
    assert got(joe, "-H", secured.authorization) == "200"


# -- new certificates


def test_a_new_certificate_is_for_new_connections_and_those_under_way_go_on(
    secured: Secured,
) -> None:
    body = f'{{"iqn": "{WIKI_TARGET}"}}'.encode()
    head = f"POST {PREFIX}/target_list HTTP/1.1\r\nHost: localhost\r\n".encode()
    head += f"{secured.authorization}\r\nContent-Type: application/json\r\n".encode()
    head += f"Content-Length: {len(body)}\r\n\r\n".encode()
    before = secured.shown()
    with secured.connect() as kept, secured.connect() as slow:
        kept.sendall(GET)
        assert answer(kept).startswith("HTTP/1.1 200")
        slow.sendall(head + body[:5])
        secured.renew()
        assert secured.shown() != before
        slow.sendall(body[5:])
        assert answer(slow).startswith("HTTP/1.1 201")
        for connection in (kept, slow):
            connection.sendall(GET)
            assert answer(connection).startswith("HTTP/1.1 200")
    secured.service.api("DELETE", f"/target_list/{WIKI_TARGET}", expect=200)


def test_a_broken_file_is_told_in_the_log_and_by_readyz_and_the_old_certificate_goes_on(
    secured: Secured,
) -> None:
    good, before = secured.pair.key.read_bytes(), secured.logged()
    shown = secured.shown()
    secured.pair.key.write_text("broken")
    secured.hang_up()
    said = f"tls_key: {secured.pair.key} holds no private key"
    wait_until(lambda: said in secured.logged().removeprefix(before))
    assert secured.shown() == shown
    (warning,) = secured.service.http.get("/readyz").json()["warnings"]
    assert said in warning
    secured.pair.key.write_bytes(good)
    secured.renew()
    assert secured.service.http.get("/readyz").json()["warnings"] == []


def test_no_request_fails_while_certificates_are_renewed_20_times(secured: Secured) -> None:
    """100 requests a second, each on a connection of its own."""
    counts: Counter[str] = Counter()
    done = threading.Event()

    def ask(turn: int) -> None:
        due = time.monotonic() + turn / 100
        while not done.is_set():
            time.sleep(max(0, due - time.monotonic()))
            due += 0.04
            try:
                with secured.connect() as connection:
                    connection.sendall(GET)
                    counts[answer(connection).splitlines()[0]] += 1
            except OSError as error:
                counts[repr(error)] += 1

    started = time.monotonic()
    clients = [threading.Thread(target=ask, args=(turn,)) for turn in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(20):
            secured.renew()
            time.sleep(0.1)
    finally:
        done.set()
        for client in clients:
            client.join()
    rate = counts.total() / (time.monotonic() - started)
    print(f"{dict(counts)}, {rate:.0f} requests/s")
    assert set(counts) == {"HTTP/1.1 200 OK"}
    assert counts.total() > 100


def test_sighup_without_tls_does_nothing() -> None:
    with folder() as root:
        service = StorLever(root)
        try:
            service.start()
            assert service.process is not None
            service.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "SIGHUP changes nothing" in service.log.read_text())
            assert service.get("/target_list") == []
        finally:
            service.close()


# -- start and stop


def test_neither_idle_clients_that_say_no_goodbye_nor_stalled_handshakes_hold_up_the_end() -> None:
    with folder() as root:
        made = Secured(root)
        try:
            made.service.start()
            with made.connect() as idle, socket.create_connection(("127.0.0.1", made.port)):
                idle.sendall(GET)
                answer(idle)
                started = time.monotonic()
                assert made.service.stop() == 0
                assert time.monotonic() - started < 4
            assert "graceful shutdown exceeded" not in made.logged()
        finally:
            made.service.close()


def refused(root: Path, **settings: str) -> str:
    """What the program says when it ends by itself."""
    service = StorLever(root, **settings)
    service.settings["listen"] = f"https://127.0.0.1:{service.port}"
    try:
        service.spawn()
        assert service.process is not None
        assert service.process.wait(15) == 2
        return service.log.read_text()
    finally:
        service.close()


def test_a_key_of_another_certificate_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    one, other = server_pair(tmp_path, "one"), server_pair(tmp_path, "other")
    said = refused(tmp_path, tls_certificate=str(one.certificate), tls_key=str(other.key))
    assert said == (
        f"storlever: tls_key: {other.key} is not the key of the certificate in {one.certificate}\n"
    )
    assert not (tmp_path / "state").exists()


def test_https_without_a_certificate_ends_the_start_with_the_settings_name(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(
        "storlever: tls_certificate: is needed to listen on https://127.0.0.1:"
    )


# -- storlever cert


def cert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STORLEVER, "cert", "self-signed", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_a_self_signed_pair_is_written_and_its_fingerprint_and_settings_are_said(
    tmp_path: Path,
) -> None:
    made, key = tmp_path / "c.pem", tmp_path / "k.pem"
    done = cert("--host", "a.example", "10.0.0.1", "--certificate", made, "--key", key)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"SHA-256 fingerprint: {certificate.read(made.read_bytes()).fingerprint}",
        f'tls_certificate = "{made}"',
        f'tls_key = "{key}"',
    ]
    assert key.stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made, key)


def test_by_default_it_is_for_this_machine_and_localhost(tmp_path: Path) -> None:
    made = tmp_path / "c.pem"
    assert cert("--certificate", made, "--key", tmp_path / "k.pem").returncode == 0
    text = subprocess.run(
        ["openssl", "x509", "-in", made, "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"DNS:{socket.gethostname()}, DNS:localhost" in text


@pytest.mark.parametrize("there", ["c.pem", "k.pem"])
def test_a_file_that_is_there_is_not_overwritten_and_nothing_else_is_left(
    tmp_path: Path, there: str
) -> None:
    (tmp_path / there).write_text("precious")
    done = cert("--certificate", tmp_path / "c.pem", "--key", tmp_path / "k.pem")
    assert done.returncode == 2
    assert done.stderr == f"storlever: cannot write {tmp_path / there}: File exists\n"
    assert (tmp_path / there).read_text() == "precious"
    assert [each.name for each in tmp_path.iterdir()] == [there]


@pytest.mark.parametrize("wrong", [["--host", "a b"], ["--days", "0"], ["--days", "x"]])
def test_a_wrong_argument_of_it_is_refused_and_nothing_written(
    tmp_path: Path, wrong: list[str]
) -> None:
    done = cert(*wrong, "--certificate", tmp_path / "c.pem", "--key", tmp_path / "k.pem")
    assert done.returncode == 2
    assert wrong[1] in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_needs_neither_cryptography_nor_the_server() -> None:
    """Each of which would double the time it takes."""
    program = (
        "import contextlib, sys\n"
        "from storlever.cli.program import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        "sys.exit(bool({'cryptography', 'uvicorn'} & sys.modules.keys()))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
