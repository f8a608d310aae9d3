"""What each destination still needs of a log, remembered; and who is left behind."""

from __future__ import annotations

from pathlib import Path

from syncline.connectors.postgres.changes.needs import Needs, laggards


def test_the_least_need_counts_and_never_goes_back(tmp_path: Path) -> None:
    needs = Needs(("a", "b"), tmp_path / "needs.json")
    assert needs.all() == {}
    needs.take_place("a", 100)
    needs.take_place("b", 50)
    needs.move("a", 300)
    assert needs.floor == 50
    needs.move("b", 40)
    assert needs.of("b") == 50


def test_who_is_away_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "needs.json"
    needs = Needs(("a", "b", "c"), path)
    needs.take_place("a", 100)
    needs.take_place("b", 50)
    needs.leave("c", "it was slow")
    needs.move("a", 200)
    needs.close()
    again = Needs(("a", "b", "c"), path)
    assert again.all() == {"a": 200, "b": 50}
    assert again.why_left("c") == "it was slow"
    # A destination that the connection has no more holds nothing.
    assert Needs(("a",), path).floor == 200


def test_a_place_that_was_lost_comes_back_by_taking_one_only(tmp_path: Path) -> None:
    needs = Needs(("a", "b"), tmp_path / "needs.json")
    needs.take_place("a", 100)
    needs.take_place("b", 900)
    needs.leave("a", "it was slow")
    needs.move("a", 1000)
    assert (needs.of("a"), needs.floor) == (None, 900)
    needs.take_place("a", 950)
    assert (needs.of("a"), needs.why_left("a")) == (950, None)


def test_a_torn_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "needs.json"
    for text in ("", '{"a"', "[]", '{"a": 1}'):
        path.write_text(text)
        assert Needs(("a",), path).floor is None


def test_the_fewest_whose_leaving_frees_enough_are_left() -> None:
    def weight(lsn: int) -> int:
        return lsn

    assert laggards({"a": 0, "b": 100, "c": 110}, weight, 50) == ["a"]
    assert laggards({"a": 0, "b": 5, "c": 110}, weight, 50) == ["a", "b"]
    assert laggards({"a": 0, "b": 5, "c": 10}, weight, 50) == [], "all are about equally far"
    assert laggards({"a": 0}, weight, 50) == []


def test_one_that_was_taken_out_is_known_until_it_has_a_place_again(tmp_path: Path) -> None:
    path = tmp_path / "needs.json"
    needs = Needs(("a", "b"), path)
    needs.take_place("a", 100)
    needs.take_place("b", 50)
    alone = Needs(("a",), path)
    alone.take_place("a", 200)
    back = Needs(("a", "b"), path)
    assert back.was_out("b")
    assert not back.was_out("a")
    assert back.floor == 200, "it holds nothing"
    back.take_place("b", 150)
    assert not Needs(("a", "b"), path).was_out("b")
    # With one destination there is no such file to be heeded, and so none of it counts afterwards.
    Needs((), path).take_all_out()
    again = Needs(("a", "b"), path)
    assert again.all() == {}
    assert again.was_out("a")
