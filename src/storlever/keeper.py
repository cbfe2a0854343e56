"""What is not urgent is made durable in a while: the audit of refusals, and the use of tokens."""

import threading

import structlog

from storlever.errors import StateFailed, Unavailable
from storlever.service import Service

log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds that the audit of what changed nothing may be lost for by a crash."""


class Keeper:
    """`run` is for a thread of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopped = threading.Event()
        self._failed = False

    def run(self) -> None:
        """Until it is stopped, and once more then."""
        while not self._stopped.wait(INTERVAL):
            self._keep()
        self._keep(last=True)

    def stop(self) -> None:
        self._stopped.set()

    def _keep(self, *, last: bool = False) -> None:
        """What fails is tried again; the log has told all that the audit did not."""
        try:
            self._service.keep(last=last)
            self._failed = False
        except (StateFailed, Unavailable) as error:
            if not self._failed:
                log.warning("cannot write the audit", reason=str(error))
            self._failed = True
        except Exception:
            log.exception("cannot write the audit")
