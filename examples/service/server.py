"""The service: POST /answer {"question"} gives {"answer"}; GET /health says that it is there.

It listens on a port that the kernel picks and says where in .aider_fsm/runtime_env.json.
"""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sums import answer

ROOT = os.environ["AIDER_FSM_REPO_ROOT"]


class Handler(BaseHTTPRequestHandler):
    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, {"ok": True}) if self.path == "/health" else self.reply(404, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(200, {"answer": answer(asked["question"])})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
base = "http://127.0.0.1:%d" % server.server_port
runtime_env = {
    "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "run_id": os.environ["AIDER_FSM_RUN_ID"],
    "pid": os.getpid(),
    "service": {"base_url": base, "health_url": base + "/health"},
}
path = os.path.join(ROOT, ".aider_fsm", "runtime_env.json")
with open(path + ".new", "w") as file:
    json.dump(runtime_env, file)
os.rename(path + ".new", path)
server.serve_forever()
