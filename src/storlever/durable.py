"""What a power cut must not take."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """A file's content, or a folder's names, to stable storage. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
