"""What lists of words and links find in a text, and what they do not."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import content, scanning
from crypto_modes.content import Edit
from crypto_modes.errors import BadConfig
from crypto_modes.scanning import Links, Words, comparable

MARKER = "HARM-0007"


def words(*entries: str) -> Words:
    return Words("list", "flag", entries)


def finds(scanner: Words | Links, text: str) -> list[str]:
    return [hit.entry for hit in scanner.scan(comparable(text))]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("harm-0007", f"look: {MARKER}!"),
        ("buy now", "BUY   NOW"),
        ("buy now", "buy\nnow, or never"),
        ("straße", "die STRASSE dort"),
        ("ｆｕｌｌ", "full"),
        ("word", "w\u200bo\u00adrd"),
        ("c++", "learn c++ here"),
        ("毒品", "买毒品吗"),
        ("ยา", "ขายยานะ"),
        ("café", "le cafe\u0301 noir"),
        ("毒品", "buy毒品now"),
        ("x" * 200, "x" * 200),
    ],
)
def test_an_entry_is_found_however_it_is_written(entry: str, text: str) -> None:
    assert finds(words(entry), text) == [comparable(entry)]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("ass", "a class of grass"),
        ("ass", "ass_1"),
        ("buy now", "buy it now"),
        ("buy now", "I buy nowadays"),
        ("harm-0007", "harm-00071"),
        ("é", "cafés"),
    ],
)
def test_words_are_whole(entry: str, text: str) -> None:
    assert finds(words(entry), text) == []


@given(
    st.lists(st.text("ab c", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4),
    st.text("abcAB  ._-", max_size=30),
)
def test_it_finds_what_a_plain_search_finds(entries: list[str], text: str) -> None:
    """The oracle looks at every place of every entry."""
    prepared = comparable(text)
    expected = set()
    for entry in map(comparable, entries):
        for start in range(len(prepared) - len(entry) + 1):
            end = start + len(entry)
            before = start and (prepared[start - 1] + entry[0]).replace("_", "a").isalnum()
            after = end < len(prepared) and (entry[-1] + prepared[end]).replace("_", "a").isalnum()
            if prepared[start:end] == entry and not before and not after:
                expected.add(entry)
    assert finds(words(*entries), text) == sorted(expected)[: scanning.HITS_LIMIT]


@pytest.mark.parametrize(
    "text",
    [
        "http://bad.example/x",
        "HTTPS://BAD.example:443/",
        "see bad.example, please",
        "(www.sub.bad.example?q=1)",
        "https://good.example@bad.example/",
        "bad.example.",
        "bad.example./x",
    ],
)
def test_a_host_is_found_with_all_below_it(text: str) -> None:
    assert finds(Links("l", "hold", ["bad.example"]), text) == ["bad.example"]


@pytest.mark.parametrize(
    "text",
    [
        "http://notbad.example/",
        "bad.example.org",
        "https://good.example/bad.example",
        "bad example",
    ],
)
def test_other_hosts_are_not(text: str) -> None:
    assert finds(Links("l", "hold", ["bad.example"]), text) == []


def test_a_path_narrows_a_host() -> None:
    links = Links("l", "hold", ["https://host.example/bad/", "münchen.example"])
    assert finds(links, "http://host.example/bad") == ["host.example/bad"]
    assert finds(links, "host.example/bad/more?x#y") == ["host.example/bad"]
    for end in ("?x", "#y", "/?x", "/#y"):
        assert finds(links, f"host.example/bad{end}") == ["host.example/bad"]
    assert finds(links, "host.example/badly") == finds(links, "host.example/") == []
    assert finds(links, "https://xn--mnchen-3ya.example/") == ["xn--mnchen-3ya.example"]
    assert finds(links, "https://MÜNCHEN.example/") == ["xn--mnchen-3ya.example"]


@pytest.mark.parametrize(
    "listed", ["münchen.bücher.example", "xn--mnchen-3ya.xn--bcher-kva.example"]
)
@pytest.mark.parametrize(
    "text",
    [
        "münchen.bücher.example",
        "MÜNCHEN.xn--bcher-kva.example",
        "www.xn--mnchen-3ya.bücher.example/x",
        "xn--mnchen-3ya.xn--bcher-kva.example",
        "mu\u0308nchen.bücher\u3002example",
        "münchen\uff0ebücher\uff61example",
    ],
)
def test_a_name_beyond_ascii_is_found_in_each_way_to_write_it(listed: str, text: str) -> None:
    found = finds(Links("l", "flag", [listed]), text)
    assert found == ["xn--mnchen-3ya.xn--bcher-kva.example"]


def test_a_name_that_no_dns_has_is_found_as_it_is_written() -> None:
    label = "é" * 64
    links = Links("l", "flag", [f"{label}.example"])
    assert finds(links, f"http://{label}.example/") == [f"{label}.example"]


def test_a_hit_says_what_of_which_list_and_what_follows() -> None:
    (hit,) = Links("links.txt", "hold", ["bad.example"]).scan("bad.example")
    assert hit == ("hold", "links.txt", "bad.example")
    (hit,) = words("now").scan("now")
    assert hit == ("flag", "list", "now")
    for kind in (Words, Links):
        with pytest.raises(BadConfig, match=r"the list spam\.txt: an entry"):
            kind("spam.txt", "flag", [""])


def test_one_hit_that_holds_is_enough() -> None:
    flag, hold = scanning.Hit("flag", "l", "x"), scanning.Hit("hold", "l", "x")
    assert scanning.held([flag, hold])
    assert not scanning.held([flag, flag])
    assert not scanning.held([])


def test_entries_that_overlap_are_all_found() -> None:
    assert finds(words("harm now", "now or", "now"), "harm now or never") == [
        "harm now",
        "now",
        "now or",
    ]


def test_names_of_a_text_are_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of thousands would hold up everybody's: see ``Links``."""
    links = Links("l", "flag", ["münchen.example"])
    monkeypatch.setattr(scanning, "_spelt", None)
    flood = " ".join(f"é{number}.example" for number in range(2000))
    assert finds(links, f"{flood} münchen.example") == ["xn--mnchen-3ya.example"]


def test_a_flood_of_hits_has_a_bound() -> None:
    many = words(*string.ascii_lowercase)
    assert len(many.scan(" ".join(string.ascii_lowercase))) == scanning.HITS_LIMIT


def test_what_people_read_is_scanned() -> None:
    assert scanning.words_of(MARKER.encode()) == MARKER
    assert scanning.words_of(content.encode(Edit(bytes(16), MARKER))) == MARKER
    assert scanning.words_of(content.with_reply(MARKER.encode(), bytes(16))) == MARKER
    file = content.Attachment(
        blob=bytes(16),
        name=MARKER,
        media_type="image/png",
        size=1,
        ciphertext=bytes(32),
        plaintext=bytes(32),
    )
    assert scanning.words_of(content.encode(file)) == MARKER
    assert scanning.words_of(content.encode(content.Deletion(bytes(16)))) == ""
    assert MARKER in scanning.words_of(b"\xc0" + MARKER.encode())


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", "is empty"), (b"# only a remark\n", "is empty"), (b"ok\n\xff\n", "UTF-8 at byte 3")],
)
def test_a_file_that_is_no_list_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        scanning.parse_list("spam.txt", raw)


def test_entries_have_limits() -> None:
    assert scanning.parse_list("l", "\ufeff# remark\n one \n\ntwo".encode()) == ["one", "two"]
    for wrong in ("\u200b", "x" * 201):
        with pytest.raises(BadConfig, match="1 to 200"):
            words(wrong)
    with pytest.raises(BadConfig, match="no host"):
        Links("l", "flag", ["localhost"])
