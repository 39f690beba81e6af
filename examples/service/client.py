"""How the stages reach the service."""

import json
import os
import urllib.request

ROOT = os.environ["AIDER_FSM_REPO_ROOT"]
ARTIFACTS = os.environ["AIDER_FSM_ARTIFACTS_DIR"]


def read(name):
    with open(os.path.join(ROOT, ".aider_fsm", name)) as file:
        return json.load(file)


def write(name, value):
    with open(os.path.join(ROOT, ".aider_fsm", name), "w") as file:
        json.dump(value, file, indent=2)


def get(url):
    with urllib.request.urlopen(url, timeout=5) as reply:
        return json.load(reply)


def ask(question):
    url = read("runtime_env.json")["service"]["base_url"] + "/answer"
    body = json.dumps({"question": question}).encode()
    with urllib.request.urlopen(url, body, timeout=5) as reply:
        return json.load(reply)["answer"]
