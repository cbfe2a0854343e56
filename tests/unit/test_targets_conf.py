"""targets.conf: its grammar, held to the library that tgt-admin reads it with; what it means; and
that what is written comes back as it was."""

import json
import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storlever.cli.directive import Block, Malformed, Place, parse
from storlever.cli.failure import Failure
from storlever.cli.importing import read
from storlever.cli.rendering import HARMLESS, SPACED, render
from storlever.cli.translation import NOBODY, Remark, Translation

ONE, TWO = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
PERL = """
use Config::General qw(ParseConfig); use JSON::PP;
my @answers;
for my $file (@ARGV) {
    my %found = eval { local $SIG{__WARN__} = sub {}; ParseConfig(-ConfigFile => $file,
        -UseApacheInclude => 1, -IncludeDirectories => 1, -IncludeGlob => 1,
        -MergeDuplicateBlocks => 1) };
    push @answers, $@ ? undef : \\%found;
}
print JSON::PP->new->canonical->latin1->encode(\\@answers);
"""
"""Each file as Config::General has it; null where it dies."""


def nothing(_name: str, place: Place) -> Sequence[tuple[str, str]]:
    raise Malformed(place, "nothing is included here")


def parsed(text: str) -> Block:
    return parse("file", textwrap.dedent(text), nothing)


def translated(
    text: str, *, there: Callable[[str], bool] = lambda _: True, identities: bool = False
) -> tuple[dict[str, Any], list[Remark]]:
    translation = Translation(there, identities)
    return translation.document(parsed(text)), translation.remarks


def target(text: str, **options: Any) -> dict[str, Any]:
    """The only one of the file, which has no remarks."""
    document, remarks = translated(f"<target {ONE}>\n{text}\n</target>", **options)
    assert remarks == []
    (found,) = document["target_list"]
    return dict(found)


def luns(text: str, **options: Any) -> list[tuple[int, str]]:
    return [(each["lun"], each["path"]) for each in target(text, **options)["lun_list"]]


# -- the grammar


def as_perl(block: Block) -> dict[str, Any]:
    """As Config::General has it: what is repeated is a list."""
    found: dict[str, Any] = {}
    for each in block.directives:
        if each.key in found:
            before = found[each.key]
            found[each.key] = [*(before if isinstance(before, list) else [before]), each.value]
        else:
            found[each.key] = each.value
    for inner in block.blocks:
        if inner.name is None:
            found[inner.key] = as_perl(inner)
        else:
            found.setdefault(inner.key, {})[inner.name] = as_perl(inner)
    return found


def perl(tmp_path: Path, texts: Sequence[str]) -> list[Any]:
    files = [tmp_path / str(number) for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode("latin1", "replace"))
    done = subprocess.run(["perl", "-e", PERL, *map(str, files)], capture_output=True, check=True)
    found: list[Any] = json.loads(done.stdout.decode("latin1"))
    return found


SAMPLES = (
    "",
    "default-driver iscsi\n# a comment\n",
    "<target a>\n  backing-store /a # the first\n  backing-store /b\n</target>\n",
    "<target a>\n<backing-store /a>\nlun 5\nwrite-cache off\n</backing-store>\n</target>\n",
    "<target a>\n  user joe secret\n</target>\n<target a>\n  user tim other\n</target>",
    '<target "a b">\n key = "a value"\n other="x"\n</target>',
    '<"target" "a">\nkey\tvalue with  blanks   \n</"target">',
    "key one \\\n   two \\\n three\n",
    'key pass\\#word\nother a\\$b\\"c\n',
    "/* a comment */ key value\n/* and\nmore\n*/ other value\n",
    "key /* within */ value\n",
    "<target a/>\n<target b />\n",
    "<target a>\n</whatever>\n",
    "key value=with=signs\nkey2=a b\n",
    "key\n",
    "key one\nkey two\nkey three\n",
    "<target a>\n</target>\n</target>\n",
    "<target a>\n",
    "   <target   a  >\n  k v\n  </target>  \n",
    'k "quoted only at one end\nk2 ""\n',
    "#\n\\#k v\n",
    "<target \\\n a>\n</target>\n",
    "/*/\nkey value\n",
)
REFUSED = (
    "a \\\n",
    "lun \\\n  <lun />\n",
    "<target a>\n  lun <b/>\n</target>\n",
    "<target a/> # a comment\n",
    "a \\\nb <<E\nE\n",
    "include \\\n file\n",
    "<k>\n b\n</k>\n<k b>\n</k>\n",
    "<k>\n b\n</k>\nk c\n",
    "<k b>\n</k>\n<k b >\n</k>\n",
    "< />\n</>\n",
)
"""Of which the library makes what nobody means; taken, they would be read differently."""


def test_it_is_read_as_the_library_of_tgt_admin_reads_it(tmp_path: Path) -> None:
    for text, want in zip(SAMPLES, perl(tmp_path, SAMPLES), strict=True):
        try:
            found: Any = as_perl(parse("file", text, nothing))
        except Malformed:
            found = None
        assert found == want, text


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_library_makes_something_odd_of_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parsed(text)


words = st.text('ab/.="\\#* \t<>', max_size=8)
keys = st.sampled_from(["lun", "backing-store", "incominguser", "k"])
lines = st.one_of(
    st.builds("{} {}".format, keys, words),
    st.builds("<{} {}>".format, keys, st.text("ab/. ", min_size=1, max_size=4)),
    st.builds("</{}>".format, keys),
    words,
)


@settings(max_examples=8)
@example(["<\\\n  <lun />", "=\\\n<lun/>", "<<lun>\n</lun>"])
@given(st.lists(st.lists(lines, max_size=8).map("\n".join), min_size=30, max_size=30))
@example([*REFUSED])
def test_what_we_take_the_library_takes_alike(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    """We may refuse more, but read nothing differently."""
    for text, want in zip(texts, perl(tmp_path_factory.mktemp("p"), texts), strict=True):
        try:
            found = as_perl(parse("file", text, nothing))
        except Malformed:
            continue
        if want is not None:
            assert found == want, text


@given(st.text(st.sampled_from("<>/target \n\"'\\#=*lunbckigsore-") | st.characters()))
@example("\\")
@example("<\n")
@example("<" * 5000)
def test_whatever_stands_in_a_file_there_is_one_kind_of_error(text: str) -> None:
    with suppress(Malformed):
        translated(text)


structured = st.lists(
    st.one_of(
        st.builds(
            "{} {}".format,
            st.sampled_from(
                [
                    *(
                        "backing-store",
                        "direct-store",
                        "lun",
                        "incominguser",
                        "outgoinguser",
                        "state",
                    ),
                    *("initiator-address", "initiator-name", "write-cache", "readonly", "scsi_id"),
                    *(
                        "device-type",
                        "bs-type",
                        "controller_tid",
                        "allow-in-use",
                        "driver",
                        "online",
                    ),
                ]
            ),
            st.sampled_from(["1", "/a", "/b", "joe secret", "ALL", "10.0.0.1", "no", "yes", ONE])
            | st.text(max_size=9),
        ),
        st.sampled_from(
            [
                *(f"<target {ONE}>", f"<target {TWO}>", "</target>", "<backing-store /c>"),
                *("</backing-store>", "<direct-store /d>", "</direct-store>"),
            ]
        ),
    ),
    max_size=30,
).map("\n".join)


@given(structured)
def test_what_looks_like_a_configuration_is_translated_or_malformed(text: str) -> None:
    try:
        document, _ = translated(text)
    except Malformed:
        return
    names = {each["username"] for each in document["user_list"]}
    for each in document["target_list"]:
        assert {*each["incominguser_list"], *each["outgoinguser_list"]} <= names
        numbers = [lun["lun"] for lun in each["lun_list"]]
        assert numbers == sorted({*numbers})


@given(structured)
def test_no_remark_tells_a_password(text: str) -> None:
    said = ""
    try:
        _, remarks = translated(text.replace("user joe secret", "user joe S3CRET-of-joe"))
        said = "".join(map(str, remarks))
    except Malformed as error:
        said = str(error)
    assert "S3CRET" not in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a b\n<target x>\n", 2),
        ("a b\n</target>\n", 2),
        ("\n\nkey <<EOF\nEOF\n", 3),
        ("a \\\n b \\", 1),
        (f"<target {ONE}>\n\nlun 1\nlun 2\n</target>", 4),
        (f"<target {ONE}>\nlun one\n</target>", 2),
        (f"<target {ONE}>\nincominguser joe\n</target>", 2),
        (f"<target {ONE}>\nbacking-store /a\n<backing-store /b>\n</backing-store>\n</target>", 3),
        ("<target>\n</target>", 1),
        ("include /nowhere", 1),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Malformed) as caught:
        translated(text)
    assert str(caught.value).startswith(f"file:{line}: ")


# -- what it means


def test_a_target_with_everything_becomes_one_of_ours() -> None:
    document, remarks = translated(f"""
        default-driver iscsi
        incomingdiscoveryuser disco "secret-of-disco"
        <target {ONE}>
            <backing-store /srv/a.img>
                lun 5
                write-cache off
                readonly 1
                scsi_id 0123
                scsi_sn 4567
            </backing-store>
            <direct-store /dev/sdb>
                bs-type aio
                online 0
            </direct-store>
            incominguser joe secret-of-joe
            outgoinguser tim secret-of-tim
            initiator-address 10.0.0.7/8
            initiator-name iqn.2026-01.test:host
            state offline
        </target>
    """)
    assert remarks == []
    assert document == {
        "version": 1,
        "conf": {"incomingdiscoveryuser": "disco"},
        "user_list": [
            {"username": "disco", "password": "secret-of-disco"},
            {"username": "joe", "password": "secret-of-joe"},
            {"username": "tim", "password": "secret-of-tim"},
        ],
        "target_list": [
            {
                "iqn": ONE,
                "state": "offline",
                "initiator_addr_list": ["10.0.0.0/8"],
                "initiator_name_list": ["iqn.2026-01.test:host"],
                "incominguser_list": ["joe"],
                "outgoinguser_list": ["tim"],
                "lun_list": [
                    {
                        "lun": 1,
                        "path": "/dev/sdb",
                        "device_type": "disk",
                        "bs_type": "aio",
                        "direct_map": True,
                        "write_cache": True,
                        "readonly": False,
                        "online": False,
                        "shared": False,
                    },
                    {
                        "lun": 5,
                        "path": "/srv/a.img",
                        "device_type": "disk",
                        "direct_map": False,
                        "write_cache": False,
                        "readonly": True,
                        "online": True,
                        "shared": False,
                        "scsi_id": "0123",
                        "scsi_sn": "4567",
                    },
                ],
            }
        ],
    }


def test_luns_are_numbered_by_their_paths_backing_stores_first() -> None:
    text = "direct-store /0\nbacking-store /c\nbacking-store /a\nbacking-store /b"
    assert luns(text) == [(1, "/a"), (2, "/b"), (3, "/c"), (4, "/0")]


def test_numbers_that_are_said_are_left_out_for_others() -> None:
    block = "<backing-store {}>\n{}\n</backing-store>"
    text = "\n".join([block.format("/a", ""), block.format("/b", "lun 1"), block.format("/c", "")])
    assert luns(text) == [(1, "/b"), (2, "/a"), (3, "/c")]


def test_what_is_not_there_takes_no_number() -> None:
    document, remarks = translated(
        f"<target {ONE}>\nbacking-store /a\nbacking-store /b\n</target>",
        there=lambda path: path != "/a",
    )
    (found,) = document["target_list"]
    assert [(each["lun"], each["path"]) for each in found["lun_list"]] == [(1, "/b")]
    assert [(each.place.line, each.text) for each in remarks] == [(2, "backing-store /a")]


def test_what_stands_in_a_target_counts_for_its_luns_that_say_nothing_else() -> None:
    found = target("""
        write-cache off
        <backing-store /a>
        write-cache on
        </backing-store>
        <backing-store /b>
        readonly 1
        </backing-store>
    """)
    caches = [(each["write_cache"], each["readonly"]) for each in found["lun_list"]]
    assert caches == [(True, False), (False, True)]


def test_without_lists_everyone_is_admitted_as_by_tgt_admin() -> None:
    found = target("backing-store /a")
    assert (found["initiator_addr_list"], found["initiator_name_list"]) == ([], [])


def test_names_alone_are_kept_to_and_that_is_told() -> None:
    document, (remark,) = translated(
        f"<target {ONE}>\ninitiator-name iqn.2026-01.test:host\n</target>"
    )
    assert document["target_list"][0]["initiator_name_list"] == ["iqn.2026-01.test:host"]
    assert remark.taken
    assert "everyone" in remark.why


def test_the_address_of_nobody_says_that_names_alone_admit() -> None:
    found = target(f"initiator-address {NOBODY}\ninitiator-name iqn.2026-01.test:host")
    assert found["initiator_addr_list"] == []


@pytest.mark.parametrize(
    "text",
    [
        "initiator-address host.example",
        "initiator-name not-a-name",
        "incominguser a,b secret",
        "driver iser",
        "state closed",
    ],
)
def test_a_target_is_not_taken_where_it_would_admit_more(text: str) -> None:
    document, remarks = translated(f"<target {ONE}>\n{text}\n</target>\n<target {TWO}>\n</target>")
    assert [each["iqn"] for each in document["target_list"]] == [TWO]
    assert not remarks[-1].taken
    assert document["user_list"] == []


def test_the_first_password_of_a_user_counts_and_the_other_is_told() -> None:
    document, (remark,) = translated(f"""
        <target {TWO}>
        incominguser joe other
        </target>
        <target {ONE}>
        incominguser joe first
        </target>
    """)
    assert document["user_list"] == [{"username": "joe", "password": "first"}]
    assert remark.place.line == 3
    assert "other" not in remark.text


def test_a_store_of_several_luns_is_shared_where_the_file_allows_it() -> None:
    one = "<target {}>\nbacking-store /a\n%s</target>\n"
    text = one.format(ONE) + one.format(TWO)
    yes = "allow-in-use yes\n"
    document, remarks = translated(text % (yes, yes))
    assert remarks == []
    assert [each["lun_list"][0]["shared"] for each in document["target_list"]] == [True, True]
    document, (remark,) = translated(text % ("", ""))
    assert [len(each["lun_list"]) for each in document["target_list"]] == [1, 0]
    assert remark.place.line == 5


@pytest.mark.parametrize(
    "line",
    [
        "vendor_id ACME",
        "MaxConnections 4",
        "mode_page 8:0:18",
        "no-such-word at-all",
    ],
)
def test_what_storlever_does_not_set_is_told_with_its_line(line: str) -> None:
    document, (remark,) = translated(f"<target {ONE}>\n\n{line}\n</target>")
    assert (remark.place.line, remark.taken) == (3, False)
    assert len(document["target_list"]) == 1


@pytest.mark.parametrize(
    "line",
    [
        "bs-type rbd",
        "device-type osd",
        "scsi_id a$b",
        "removable 1",
        "block-size 4096",
        "readonly yes",
        "lun 0",
    ],
)
def test_a_lun_that_would_be_another_one_is_not_taken(line: str) -> None:
    document, (remark,) = translated(
        f"<target {ONE}>\n<backing-store /a>\n{line}\n</backing-store>\n</target>"
    )
    assert document["target_list"][0]["lun_list"] == []
    assert remark.place.line == 2


def test_disks_can_keep_what_hosts_know_them_by() -> None:
    text = f"""
        <target {TWO}>
        controller_tid 7
        backing-store /b
        </target>
        <target {ONE}>
        backing-store /a
        </target>
    """
    document, _ = translated(text, identities=True)
    found = [
        (lun["scsi_id"], lun["scsi_sn"])
        for each in document["target_list"]
        for lun in each["lun_list"]
    ]
    assert found == [("IET     00010001", "beaf11"), ("IET     00070001", "beaf71")]


# -- files


def test_files_are_included_from_beside_the_file_in_order_and_once(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("b", "a"):
        content = f"<target iqn.2026-01.test:{name}>\n</target>\ninclude {tmp_path}/targets.conf\n"
        (tmp_path / "conf.d" / f"{name}.conf").write_text(content)
    main = tmp_path / "targets.conf"
    main.write_text("include conf.d/*.conf\ninclude none/*.conf\ninclude conf.d\n")
    document, remarks = read(str(main))
    assert [each["iqn"][-1] for each in document["target_list"]] == ["a", "b"]
    assert remarks == []


@pytest.mark.parametrize(
    "text",
    [
        f"key{' ' * 200_000}value",
        f"{' ' * 200_000}x/**/",
        "key \\\n" * 2000,
        f"include {'{a,b}' * 24}",
        "include pipe",
        "include /dev/zero",
    ],
)
def test_a_file_without_an_end_to_its_reading_is_malformed(tmp_path: Path, text: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "targets.conf").write_text(text)
    began = time.monotonic()
    with pytest.raises(Malformed):
        read(str(tmp_path / "targets.conf"))
    assert time.monotonic() - began < 5


def test_a_file_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure):
        read(str(tmp_path / "none"))


# -- there and back

PLAIN: dict[str, Any] = {
    "iqn": ONE,
    "state": "ready",
    "initiator_addr_list": [],
    "initiator_name_list": [],
    "incominguser_list": [],
    "outgoinguser_list": [],
    "lun_list": [],
}
PLAIN_LUN: dict[str, Any] = {
    "lun": 1,
    "path": "/a",
    "device_type": "disk",
    "bs_type": "rdwr",
    "direct_map": False,
    "write_cache": True,
    "readonly": False,
    "online": True,
    "shared": False,
    "scsi_id": "1",
    "scsi_sn": "1",
}


def text_of(letters: Iterable[str], most: int = 12) -> st.SearchStrategy[str]:
    texts = st.text(sorted(letters), min_size=1, max_size=most)
    return texts.filter(lambda text: not text.startswith("="))


user_names = text_of(HARMLESS - {"/"}).filter(lambda name: name not in (".", ".."))
identities = text_of(SPACED, 20).filter(lambda each: each == each.strip() and "  " not in each)
paths = text_of(HARMLESS - {"/", "."}).map("/srv/{}".format)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Whole ones, of what targets.conf can say; no two LUNs share a store."""
    users = draw(st.dictionaries(user_names, text_of(HARMLESS, 16), min_size=1, max_size=4))
    free = draw(st.lists(paths, unique=True, min_size=8, max_size=8))
    names = st.sampled_from(sorted(users))
    targets: list[dict[str, Any]] = []
    for letter in draw(st.sets(st.sampled_from("abc"), max_size=3)):
        numbers = sorted(draw(st.sets(st.integers(1, 255), max_size=2)))
        addresses = draw(st.lists(st.sampled_from(["10.0.0.1", "10.0.0.0/8", "ALL"]), unique=True))
        targets.append(
            {
                "iqn": f"iqn.2026-01.test:{letter}",
                "state": draw(st.sampled_from(["ready", "offline"])),
                "initiator_addr_list": sorted(addresses),
                "initiator_name_list": sorted(
                    draw(st.sets(st.sampled_from(["iqn.2026-01.test:x", "iqn.2026-01.test:y_z"])))
                ),
                "incominguser_list": sorted(draw(st.sets(names, max_size=2))),
                "outgoinguser_list": draw(st.lists(names, max_size=1)),
                "lun_list": [draw(units(number, free.pop())) for number in numbers],
            }
        )
    used = {name for each in targets for name in each["incominguser_list"]}
    used |= {name for each in targets for name in each["outgoinguser_list"]}
    return {
        "version": 1,
        "conf": {},
        "user_list": [{"username": name, "password": users[name]} for name in sorted(used)],
        "target_list": sorted(targets, key=lambda each: str(each["iqn"])),
    }


@st.composite
def units(draw: st.DrawFn, number: int, path: str) -> dict[str, Any]:
    flag = st.booleans()
    return {
        "lun": number,
        "path": path,
        "device_type": "disk",
        "bs_type": draw(st.sampled_from(["rdwr", "aio"])),
        "direct_map": draw(flag),
        "write_cache": draw(flag),
        "readonly": draw(flag),
        "online": draw(flag),
        "shared": False,
        "scsi_id": draw(identities),
        "scsi_sn": draw(identities),
    }


@given(documents())
def test_what_is_written_comes_back_as_it_was(document: dict[str, Any]) -> None:
    text, missing = render(document)
    assert missing == []
    assert translated(text) == (document, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "/a`reboot`"),
        ("path", "/a$(reboot)"),
        ("path", '/a"; reboot; "'),
        ("path", "/a*/b"),
        ("scsi_id", "a'b"),
        ("scsi_sn", "a;b"),
    ],
)
def test_nothing_that_a_shell_may_take_for_its_own_is_written(field: str, value: str) -> None:
    one = {**PLAIN, "lun_list": [{**PLAIN_LUN, field: value}]}
    text, missing = render({"conf": {}, "user_list": [], "target_list": [one]})
    assert ONE not in text
    assert len(missing) == 1


def test_luns_of_one_target_that_share_a_store_are_not_written() -> None:
    """tgt-admin would take them for one LUN that has two numbers."""
    shared = {**PLAIN_LUN, "shared": True}
    one = {**PLAIN, "lun_list": [shared, {**shared, "lun": 2}]}
    text, (missing,) = render({"conf": {}, "user_list": [], "target_list": [one]})
    assert ONE not in text
    assert "/a" in missing


def test_a_password_that_cannot_be_written_is_not_told() -> None:
    one = {**PLAIN, "incominguser_list": ["joe"]}
    for user in ({"username": "joe", "password": "S3CRET;reboot"}, {"username": "joe"}):
        text, (missing,) = render({"conf": {}, "user_list": [user], "target_list": [one]})
        assert "S3CRET" not in text + missing
        assert ONE not in text


@pytest.mark.parametrize("word", ["a;b", "a$b", "`b`", '"a', "a&"])
def test_a_user_is_not_taken_of_whom_a_shell_makes_something_else(word: str) -> None:
    document, remarks = translated(f"<target {ONE}>\nincominguser joe {word}\n</target>")
    assert document["target_list"] == []
    assert len(remarks) == 2
