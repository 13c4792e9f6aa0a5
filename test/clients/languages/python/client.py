"""Sends calls by the library whose package is the first argument. The others, and what it prints: see ../client.ts."""
import importlib
import importlib.metadata
import os
import platform
import sys
import threading
import time
from datetime import datetime, timezone

queued = []
lost = {}
told = 0


def dropped(error, batch):
    for call in batch:
        lost[call["userId"]] = error


def report(client):
    """Waits until what is queued by now has left the library, and prints what became of it."""
    global told
    until = len(queued)
    client.flush()
    for number in queued[told:until]:
        print("lost" if number in lost else "sent", number, lost.get(number, ""), flush=True)
    told = until


def call_each(client):
    happened = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    client.identify("1", {"plan": "pro"})
    client.track("2", "Signed Up", {"seats": 3}, timestamp=happened)
    client.page("3", name="Start", properties={"path": "/"})
    client.screen("4", name="Home", properties={"dark": True})
    client.group("5", "g1", {"name": "Acme"})
    client.alias("a1", "6")
    queued.extend(str(number) for number in range(1, 7))


def send(client, count, batch, pause_ms):
    for number in range(1, count + 1):
        client.track(str(number), "Counted", {"n": number})
        queued.append(str(number))
        while number == count // 4 and told < number:
            time.sleep(0.01)
        if number == count // 4 * 3:
            sys.stdin.readline()
        if number % batch == 0:
            time.sleep(pause_ms / 1000)


def main(package, command, *numbers):
    if command == "version":
        [library] = importlib.metadata.packages_distributions()[package.split(".")[0]]
        version = importlib.metadata.version(library)
        print(f"Python {platform.python_version()}, {library} {version}")
        return
    count, batch, pause_ms = [int(number) for number in numbers] or [6, 100, 0]
    client = importlib.import_module(f"{package}.client").Client(
        os.environ["CLIENT_WRITE_KEY"],
        host=os.environ["CLIENT_URL"],
        gzip=os.environ["CLIENT_GZIP"] == "on",
        upload_size=batch,
        on_error=dropped,
    )
    calling = threading.Thread(
        target=call_each if command == "calls" else send,
        args=[client] if command == "calls" else [client, count, batch, pause_ms],
    )
    calling.start()
    while calling.is_alive():
        report(client)
        time.sleep(0.01)
    report(client)
    client.join()


main(*sys.argv[1:])
