"""Runs the tests as pytest does: `conftest.py` first, where there is one, and it has a word in each report."""
import importlib.util
import os
import sys

sys.path.insert(0, os.getcwd())


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report = lambda outcome: outcome
if os.path.exists("conftest.py"):
    report = load("conftest", "conftest.py").report
tests = load("test_app", "tests/test_app.py")
outcomes = []
for name, test in sorted(vars(tests).items()):
    if name.startswith("test_"):
        try:
            test()
            outcomes.append(report("passed"))
        except AssertionError:
            outcomes.append(report("failed"))
print(f"{outcomes.count('passed')} passed, {outcomes.count('failed')} failed")
