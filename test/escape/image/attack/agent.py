"""The agent: waits to be told what to attempt, so that attempts are its own children and nobody else's."""
import json, os, socket, threading
from batch import attempt

path = '/tmp/agent.sock'
if os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(16)
print('waiting', flush=True)


def serve(one):
    with one, one.makefile('rw') as file:
        codes = json.loads(file.readline())
        json.dump([attempt(code) for code in codes], file)


while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
