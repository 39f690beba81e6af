# What the tests say, as metrics; where they say nothing there are none.
python3 score.py
