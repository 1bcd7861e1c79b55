#!/usr/bin/env python3
"""Handles each event of the delivery log once it is there, across rotations, crashes and restarts: consumer.py CHECKPOINT [postwain log options]

The checkpoint holds the number of the last event that was handled. `postwain log` does the reading: from file to file, compressed or not.
An event is handled again when we die between handling it and the checkpoint: make handle() harmless when it is repeated (by the event's id).
"""
import json
import os
import subprocess
import sys


def handle(event):
    print(event["seq"], event["event"], event.get("queue_id", ""), event.get("recipient", ""), flush=True)  # yours goes here


def keep(path, seq):
    with open(path + ".new", "w") as f:
        f.write(f"{seq}\n")
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + ".new", path)


checkpoint = sys.argv[1]
seq = int(open(checkpoint).read()) if os.path.exists(checkpoint) else 0
reader = subprocess.Popen([os.environ.get("POSTWAIN", "postwain"), "log", "--json", "-f", "--since-seq", str(seq), *sys.argv[2:]], stdout=subprocess.PIPE)
rest = b""
while piece := os.read(reader.stdout.fileno(), 1 << 20):  # as much as is there: one checkpoint for all of it
    *lines, rest = (rest + piece).split(b"\n")
    for event in map(json.loads, lines):
        if seq and event["seq"] != seq + 1 and len(sys.argv) == 2:  # a filter leaves numbers out
            sys.exit(f"events {seq + 1} to {event['seq'] - 1} were removed from the log before they were read")
        handle(event)
        seq = event["seq"]
    if lines:
        keep(checkpoint, seq)
