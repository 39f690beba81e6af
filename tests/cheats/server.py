"""The service."""
import http.server
import os

import app


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        app.asked()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok\n")


http.server.HTTPServer(("127.0.0.1", int(os.environ["AIDER_FSM_PORT"])), Answer).serve_forever()
