"""The key to what a store keeps, where a service has it that was told nothing else."""

from pathlib import Path

from storlever import keyfile
from storlever.keyfile import KeyFile


def keys_in(folder: Path) -> KeyFile:
    return KeyFile(folder / keyfile.NAME)
