"""A child process that dies in the middle of writing an answer."""

import json
import os
import signal
import sys

number = json.loads(sys.stdin.readline())["id"]
sys.stdout.write(json.dumps({"id": number, "event": {"type": "text"}}) + "\n" + f'{{"id": {number}, "eve')
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
