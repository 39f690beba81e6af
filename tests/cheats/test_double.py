import unittest

from app import double


class Doubles(unittest.TestCase):
    def test_two(self):
        self.assertEqual(double(2), 4)

    def test_seven(self):
        self.assertEqual(double(7), 14)
