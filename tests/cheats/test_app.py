from app import double


def test_two():
    assert double(2) == 4


def test_seven():
    assert double(7) == 14
