import xml.etree.ElementTree as ET

import pytest

from learningchain.demo.picture import NANO, Point, draw_race

RACERS = {"ada": [Point(5, NANO), Point(20, NANO // 10)], "bob <&>": [Point(8, NANO // 2)]}
SVG = "{http://www.w3.org/2000/svg}"


def draw() -> ET.Element:
    return ET.fromstring(draw_race("Job 1", RACERS, 40, "ada", "+50 credits"))


def test_every_announcement_is_a_point_and_every_racer_a_line() -> None:
    picture = draw()
    assert len(picture.findall(f"{SVG}circle")) == 3
    assert len(picture.findall(f"{SVG}path")) == 2


def test_names_are_escaped_and_the_winner_has_the_prize() -> None:
    texts = [text.text or "" for text in draw().iter(f"{SVG}text")]
    assert any(text.startswith("bob <&>") for text in texts)
    assert texts.count("+50 credits") == 1


def test_lower_losses_are_lower_in_the_picture_and_later_ones_further_right() -> None:
    first, second = draw().findall(f"{SVG}circle")[:2]
    assert float(first.attrib["cy"]) < float(second.attrib["cy"])
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])


def test_the_time_axis_has_few_ticks_at_round_seconds() -> None:
    texts = [text.text or "" for text in draw().iter(f"{SVG}text")]
    assert [text for text in texts if text.endswith(" s")] == ["0 s", "10 s", "20 s", "30 s", "40 s"]


def test_a_race_without_announcements_has_no_picture() -> None:
    with pytest.raises(ValueError, match="announcements"):
        draw_race("Job 1", {}, 40, "", "")
