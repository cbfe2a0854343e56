"""The key file: made once, for its owner alone, and never taken for another one."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever import keyfile
from storlever.errors import ConfigError, StateUnusable
from storlever.keyfile import KeyFile
from tests.world import folder

NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret.key"


def put(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_the_first_key_is_made_and_is_there_from_then_on(file: Path) -> None:
    keys = KeyFile(file)
    assert keys.read() is None
    made = keys.first()
    content = file.read_bytes()
    for again in (keys.read(), keys.first(), KeyFile(file).read()):
        assert again is not None
        assert again.mark == made.mark
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_no_two_keys_are_the_same(tmp_path: Path) -> None:
    assert len({KeyFile(tmp_path / str(number)).first().mark for number in range(20)}) == 20


def test_it_has_64_hexadecimal_digits_and_a_newline(file: Path) -> None:
    KeyFile(file).first()
    content = file.read_text()
    assert len(content) == 65
    assert content.endswith("\n")
    assert len(bytes.fromhex(content)) == 32


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_it_is_for_its_owner_alone_whatever_the_umask(file: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        KeyFile(file).first()
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 & ~umask


def test_it_is_so_from_its_first_moment_and_has_its_name_once_it_is_whole(file: Path) -> None:
    """With no byte written yet, as the file may not grow."""
    draft, before = file.with_name("secret.key.new"), resource.getrlimit(resource.RLIMIT_FSIZE)
    umask = os.umask(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(StateUnusable, match="cannot be made: File too large"):
            KeyFile(file).first()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.umask(umask)
    assert list(file.parent.iterdir()) == [draft]
    assert draft.read_bytes() == b""
    assert stat.S_IMODE(draft.stat().st_mode) == 0o600


def test_a_draft_of_an_earlier_start_is_no_obstacle(file: Path) -> None:
    file.with_name("secret.key.new").write_text("half")
    KeyFile(file).first()
    assert list(file.parent.iterdir()) == [file]


def test_a_key_that_others_made_is_taken(file: Path) -> None:
    """As of `openssl rand -hex 32`; a newline that was lost on the way is no matter."""
    marks = set()
    for content in (b"ab" * 32 + b"\n", b"ab" * 32, b"AB" * 32):
        seal = KeyFile(put(file, content, 0o400)).read()
        assert seal is not None
        marks.add(seal.mark)
    assert len(marks) == 1


MALFORMED = {
    "empty": b"",
    "short": b"ab" * 31 + b"\n",
    "long": b"ab" * 33 + b"\n",
    "more lines": b"ab" * 32 + b"\n\n",
    "blanks": b"ab " * 32,
    "no digits": b"xy" * 32 + b"\n",
    "binary": bytes(range(32)),
    "huge": b"ab" * 1_000_000,
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_key_is_refused_left_as_it_is_and_not_told(file: Path, content: bytes) -> None:
    keys = KeyFile(put(file, content))
    for attempt in (keys.read, keys.first):
        with pytest.raises(StateUnusable, match=f"{file} is damaged: it must be 64") as caught:
            attempt()
        assert not content or content[:6].decode("latin") not in str(caught.value)
    assert file.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "loop").symlink_to("loop")
    for name, why in [("folder", "no regular"), ("pipe", "no regular"), ("loop", "levels of")]:
        with pytest.raises(StateUnusable, match=f"{tmp_path / name} .*{why}"):
            KeyFile(tmp_path / name).first()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602, 0o610, 0o444])
def test_a_key_that_others_may_read_or_replace_is_refused(file: Path, mode: int) -> None:
    KeyFile(file).first()
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"^key_file: {file} .*mode is 0{mode:o}"):
        KeyFile(file).read()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_that_its_owner_alone_may_read_is_taken(file: Path, mode: int) -> None:
    KeyFile(file).first()
    file.chmod(mode)
    assert KeyFile(file).read()


def as_nobody(file: Path) -> None:
    """Raises what reading does, for a service that is not root's."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        assert KeyFile(file).read()
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def handed() -> Iterator[Path]:
    """A key of root's in a folder that a service of nobody's may look into."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with folder() as place:
        place.chmod(0o711)
        file = place / "secret.key"
        KeyFile(file).first()
        os.chown(file, 0, NOBODY)
        yield file


def test_a_credential_of_root_s_may_be_read_by_the_service_s_group(handed: Path) -> None:
    """As systemd hands it over: 0440, where the group's right stands for a list of users."""
    handed.chmod(0o440)
    as_nobody(handed)


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o450])
def test_a_credential_of_root_s_is_nobody_else_s(handed: Path, mode: int) -> None:
    handed.chmod(mode)
    with pytest.raises(ConfigError, match="key_file: "):
        as_nobody(handed)


def test_a_key_of_another_user_s_is_refused(handed: Path) -> None:
    os.chown(handed, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match="must belong to root or to the user"):
        KeyFile(handed).read()


def test_a_key_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match=r"gone/secret\.key cannot be made: No such file"):
        KeyFile(tmp_path / "gone" / "secret.key").first()


def test_the_default_is_the_credential_where_systemd_hands_one_over(tmp_path: Path) -> None:
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    credentials.mkdir()
    told = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert keyfile.default(state, {}) == state / "secret.key"
    assert keyfile.default(state, told) == state / "secret.key"
    (credentials / "storlever.key").touch()
    assert keyfile.default(state, told) == credentials / "storlever.key"
