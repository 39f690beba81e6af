import unittest

from sums import answer


class Sums(unittest.TestCase):
    def test_sums(self):
        self.assertEqual(answer("2+3"), "5")
        self.assertEqual(answer(" 1 + 20 + 300 "), "321")

    def test_anything_else(self):
        for question in ["", "two", "1-1", "1+"]:
            self.assertIsNone(answer(question))


if __name__ == "__main__":
    unittest.main()
