"""The service does what its OpenAPI document says: nothing that the document allows or forbids
gets an answer that is not in it."""

import pytest

from storlever.principal import Role
from tests.torture.http.examiner import Examiner
from tests.torture.rig import Torture, runs
from tests.world import StorLever, image

TARGETS = [f"iqn.2026-01.test:{number}" for number in range(4)]
OPERATIONS = 42
USERS = ["ann", "bob", "eve"]
LUNS = ["1", "2", "3"]
TOKENS = ["one", "two", "three"]


@pytest.fixture
def furnished(storlever: StorLever) -> StorLever:
    """So that requests find something: targets with a user each way and a LUN. Then nobody gets in
    without a token any more."""
    for number, name in enumerate(TARGETS):
        target = storlever.add_target(name)
        storlever.add_lun(target, 1, image(storlever.root / f"{number}.img", 1))
        for direction, user in (("incoming", "ann"), ("outgoing", "bob")):
            body = {"username": user, "password": "the same everywhere"}
            storlever.api("POST", f"{target}/{direction}user_list", body, expect=201)
    assert storlever.stop() == 0
    storlever.settings["auth_loopback"] = "token"
    return storlever.start()


@runs(push=50, release=2000)
@pytest.mark.parametrize("role", Role)
def test_no_answer_is_at_odds_with_the_openapi_document(
    furnished: StorLever, torture: Torture, role: Role
) -> None:
    if role is not Role.ADMIN:
        torture.runs //= 5  # most of it is refused, whatever it is
    daemon = furnished.tgtd_pid()
    folder = furnished.root / "asked-for"
    folder.mkdir()
    examiner = Examiner(
        url=f"http://127.0.0.1:{furnished.port}",
        torture=torture,
        folder=folder,
        known={
            "path.iqn": (0.8, TARGETS),
            "path.user": (0.7, USERS),
            "path.lun": (0.7, LUNS),
            "path.id": (0.7, ["1", "2"]),
            "path.name": (0.9, TOKENS),
            "body.name": (0.9, TOKENS),
            "body.iqn": (0.5, TARGETS),
            "body.username": (0.5, USERS),
            "header.If-Match": (0.8, ["*"]),
            "header.If-None-Match": (0.8, ['"of another"']),
            "query.dry_run": (0.7, ["false"]),
            "body.initiator_addr_list[*]": (0.9, ["10.0.0.1", "10.1.0.0/16", "ALL", "fd00::/8"]),
        },
    )
    if role:
        made = furnished.command("token", "create", "--name", "me", "--role", str(role))
        examiner.token = made.stdout.strip()
    examiner.examine()
    torture.figure(
        operations=len(examiner.operations),
        requests=examiner.statuses.total(),
        accepted=examiner.statuses[200] + examiner.statuses[201],
        failures=len(examiner.failures),
    )
    assert not examiner.failures, "\n\n".join(examiner.failures[:10])
    assert len(examiner.operations) == OPERATIONS
    if role is Role.NOBODY:
        assert set(examiner.statuses) <= {200, 400, 401, 405, 406, 421, 429, 404}
    elif role is Role.READER:
        assert examiner.statuses[201] == 0
    assert furnished.tgtd_pid() == daemon
    assert "Traceback" not in furnished.log.read_text()
