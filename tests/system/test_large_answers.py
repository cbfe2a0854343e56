"""Answers about everything, to many who ask for one and do not take it."""

import socket
from pathlib import Path

from tests.world import StorLever, folder

CONFIG = "/storlever/api/v1/config"
MANY = 300
MOST_GROWTH = 64 << 10
"""KiB; all of the answers together are three times as much."""


def resident(pid: int | None) -> int:
    """In KiB."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def asking(storlever: StorLever) -> socket.socket:
    """One who asks for all of it, and takes nothing."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", storlever.port))
    peer.sendall(f"GET {CONFIG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return peer


def test_answers_that_nobody_takes_fill_no_memory_and_keep_nobody_out() -> None:
    names = [f"iqn.2026-01.test:{'x' * 190}{number}" for number in range(1024)]
    targets = [
        {"iqn": f"iqn.2026-01.test:{number}", "initiator_name_list": names} for number in range(4)
    ]
    with folder() as root:
        storlever = StorLever(root)
        try:
            storlever.start()
            put = storlever.http.put(CONFIG, json={"target_list": targets})
            assert put.status_code == 200
            whole = storlever.http.get(CONFIG)
            assert storlever.process is not None
            before = resident(storlever.process.pid)
            peers = [asking(storlever) for _ in range(MANY)]
            try:
                assert storlever.http.get("/healthz", timeout=2).status_code == 200
                for peer in peers[20:]:
                    peer.close()
                assert storlever.http.get(CONFIG, timeout=300).content == whole.content
                assert len(whole.content) * MANY > 3 * MOST_GROWTH << 10
                assert resident(storlever.process.pid) - before < MOST_GROWTH
            finally:
                for peer in peers:
                    peer.close()
        finally:
            storlever.close()
