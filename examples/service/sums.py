"""What the service knows: sums of whole numbers."""


def answer(question):
    """`"2+3"` to `"5"`; None for anything else."""
    parts = question.replace(" ", "").split("+")
    if not all(part.isdigit() for part in parts):
        return None
    return str(sum(map(int, parts)))
