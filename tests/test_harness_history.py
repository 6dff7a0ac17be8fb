"""The verdicts of the history checker: each on a history that deserves it, and only on such."""

from __future__ import annotations

import pytest

from tests.harness.history import VERDICTS, History
from tests.harness.report import Result

TALK = bytes(16)
ALICE, BOB = b"a" * 16, b"b" * 16
ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))


def talk() -> History:
    """Alice has sent two messages; both were accepted, and reached both devices."""
    history = History()
    history.parties[TALK] = (ALICE, BOB)
    for seq, id_ in ((1, ONE), (2, TWO)):
        history.invoke(TALK, id_, ALICE, id_)
        history.ok(TALK, id_, seq)
        history.delivered(ALICE, TALK, seq, id_, None)
        history.delivered(BOB, TALK, seq, id_, id_)
    return history


def clean(**wrong: int) -> dict[str, int]:
    return dict.fromkeys(VERDICTS, 0) | wrong


def test_a_history_without_faults_has_none() -> None:
    history = talk()
    history.invoke(TALK, THREE, BOB, THREE)  # never answered: it may exist or not
    history.acked(BOB, TALK, 2)
    assert history.complete()
    assert history.accepted == 2
    assert history.verdict() == clean()


def test_an_accepted_message_that_a_device_lacks_is_lost() -> None:
    history = talk()
    history.invoke(TALK, THREE, ALICE, THREE)
    history.ok(TALK, THREE, 3)
    history.delivered(ALICE, TALK, 3, THREE, None)
    assert not history.complete()
    assert history.verdict() == clean(lost=1)
    assert BOB.hex() in history.examples["lost"]


def test_one_message_in_two_places_is_duplicated() -> None:
    history = talk()
    for device in (ALICE, BOB):
        history.delivered(device, TALK, 3, ONE, ONE)
    # Standing behind a later one of the same sender, it is also out of order.
    assert history.verdict() == clean(duplicated=2, reordered=2)


def test_one_message_accepted_twice_is_duplicated() -> None:
    history = talk()
    history.ok(TALK, TWO, 3)
    assert history.verdict()["duplicated"] == 1


@pytest.mark.parametrize("refused", [True, False])
def test_what_was_refused_or_never_sent_is_a_phantom(refused: bool) -> None:
    history = talk()
    if refused:
        history.invoke(TALK, THREE, ALICE, THREE)
        history.fail(TALK, THREE)
    history.delivered(BOB, TALK, 3, THREE, THREE)
    assert history.verdict() == clean(phantom=1)


def test_another_text_is_altered() -> None:
    history = talk()
    history.invoke(TALK, THREE, ALICE, b"yes")
    history.delivered(BOB, TALK, 3, THREE, b"no")
    assert history.verdict() == clean(altered=1)


def test_a_place_left_out_is_a_gap() -> None:
    history = talk()
    history.invoke(TALK, THREE, ALICE, THREE)
    history.delivered(BOB, TALK, 4, THREE, THREE)
    assert history.verdict() == clean(gap=1)


def test_an_older_place_after_a_younger_is_reordered() -> None:
    history = talk()
    history.delivered(BOB, TALK, 1, ONE, ONE)
    assert history.verdict() == clean(reordered=1)


def test_messages_stored_in_another_order_than_sent_are_reordered() -> None:
    history = History()
    history.parties[TALK] = (ALICE, BOB)
    history.invoke(TALK, ONE, ALICE, ONE)
    history.invoke(TALK, TWO, ALICE, TWO)
    history.delivered(BOB, TALK, 1, TWO, TWO)
    history.delivered(BOB, TALK, 2, ONE, ONE)
    assert history.verdict() == clean(reordered=1)


def test_what_was_under_way_when_one_was_refused_for_the_moment_has_no_order() -> None:
    ids = [bytes([number]) * 16 for number in range(1, 6)]

    def stored(places: list[int], *muddled: list[int]) -> dict[str, int]:
        history = History()
        history.parties[TALK] = (ALICE, BOB)
        for id_ in ids:
            history.invoke(TALK, id_, ALICE, id_)
        for group in muddled:
            history.muddled(TALK, [ids[each] for each in group])
        for seq, place in enumerate(places, 1):
            history.delivered(BOB, TALK, seq, ids[place], ids[place])
        return history.verdict()

    assert stored([0, 2, 1, 3, 4]) == clean(reordered=1)
    assert stored([0, 2, 1, 3, 4], [1, 2]) == clean()
    # Those before and behind it keep theirs.
    assert stored([1, 0, 2, 3, 4], [1, 2]) == clean(reordered=1)
    assert stored([0, 1, 3, 2, 4], [1, 2]) == clean(reordered=1)
    # Refused twice: the third was stored before, unknown to its sender.
    assert stored([0, 2, 1, 3, 4], [1, 2], [2, 3]) == clean()


def test_one_place_with_two_messages_is_a_conflict() -> None:
    history = talk()
    history.invoke(TALK, THREE, BOB, THREE)
    history.delivered(ALICE, TALK, 2, THREE, None)
    history.delivered(BOB, TALK, 3, THREE, THREE)
    assert history.verdict()["conflict"] == 1


def test_two_devices_that_disagree_are_a_conflict() -> None:
    history = talk()
    history.invoke(TALK, THREE, ALICE, THREE)
    history.invoke(TALK, b"4" * 16, BOB, THREE)
    history.delivered(ALICE, TALK, 3, b"4" * 16, None)
    history.delivered(BOB, TALK, 3, THREE, THREE)
    assert history.verdict()["conflict"] == 1


def test_what_was_acked_may_not_come_again_unless_the_ack_may_be_lost() -> None:
    history = talk()
    history.acked(BOB, TALK, 2)
    history.connected(BOB)
    history.delivered(BOB, TALK, 2, TWO, TWO)
    assert history.verdict() == clean(stale=1)

    history = talk()
    history.acked(BOB, TALK, 2)
    history.forgiven()
    history.connected(BOB)
    history.delivered(BOB, TALK, 1, ONE, ONE)
    history.delivered(BOB, TALK, 2, TWO, TWO)
    assert history.verdict() == clean()


@pytest.mark.parametrize(
    ("lost", "planted", "ok"),
    [(0, "", True), (1, "", False), (1, "fault", True), (0, "fault", False)],
)
def test_a_planted_fault_must_be_found_and_nothing_else_may_be(
    lost: int, planted: str, ok: bool
) -> None:
    result = Result("kill", {"kills": 3}, {"lost": lost}, planted=planted)
    assert result.ok is ok
    assert result.record()["ok"] is ok
    assert result.line().startswith("kill: 3 kills in 0.0 s; ")
    assert ("MISSED" in result.line()) is (planted != "" and not lost)
