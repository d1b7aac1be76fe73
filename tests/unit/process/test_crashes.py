"""When a program is started again, and when its crashes are a loop."""

from modeldeploy.targets.process.crashes import LOOP, WINDOW, Crashes


def test_pauses_double_up_to_five_seconds() -> None:
    crashes = Crashes()
    assert [crashes.add(float(second)) for second in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_crashes_long_ago_do_not_count() -> None:
    crashes = Crashes()
    for second in range(LOOP):
        crashes.add(float(second))
    assert crashes.looping(float(LOOP))
    assert not crashes.looping(LOOP + WINDOW)
    assert crashes.add(LOOP + WINDOW) == 0.1
    assert crashes.total == LOOP + 1


def test_a_thousand_crashes_are_as_good_as_a_few() -> None:
    crashes = Crashes()
    assert max(crashes.add(number / 100) for number in range(2000)) == 5.0
