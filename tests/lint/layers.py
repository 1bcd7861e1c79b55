#!/usr/bin/env python3
"""Who may include whom: checks every quoted include against the table in relay/README.md.

usage: layers.py [ROOT]

The table is the fenced block marked `layers`: one line a room, `room → room, room`. `dir/file → room` gives one
file (its stem) more than its room has; `all` means every room. Prints FILE:LINE: message for each fault, exits 1.
"""
import os
import re

import tree
from tree import HOUSE, TREES

TABLE = "relay/README.md"
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]*)"')


def room_of(path):
    """relay/base/buf.h -> base, queue/spool.h -> queue, relay/main.c -> relay; None outside the house."""
    parts = path.split("/")
    if parts[0] not in HOUSE:
        return None
    return parts[1] if parts[0] == "relay" and len(parts) > 2 else parts[0]


def read_table(root):
    """({room: (set of rooms, line)}, {file stem: set of rooms}, [faults])"""
    rooms, files, faults = {}, {}, []
    inside = False
    with open(os.path.join(root, TABLE), encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if line.startswith("```"):
                inside = not inside and line.strip() == "```layers"
                continue
            line = line.split("#")[0].strip()
            if not inside or not line:
                continue
            left, arrow, right = line.partition("→")
            left, targets = left.strip(), {t.strip() for t in right.split(",") if t.strip()}
            if not arrow or not left:
                faults.append(f"{TABLE}:{number}: not of the form `room → room, room`")
            elif "/" in left:
                files.setdefault(left, set()).update(targets)
            elif left in rooms:
                faults.append(f"{TABLE}:{number}: room {left} stands here twice")
            else:
                rooms[left] = (targets, number)
    if not rooms:
        faults.append(f"{TABLE}:1: holds no fenced block marked layers")
    for targets, number in rooms.values():
        for target in sorted(targets - rooms.keys() - {"all"}):
            faults.append(f"{TABLE}:{number}: no room is called {target}")
    return rooms, files, faults


def includes(root):
    """(file, line, included path) for every quoted include."""
    for path in tree.files(root, (".c", ".h", ".def")):
        for number, line in enumerate(tree.read(root, path).split("\n"), 1):
            match = INCLUDE.match(line)
            if match:
                yield path, number, match.group(1)


def find_cycle(edges):
    """A list of rooms that leads back to its first, or None."""
    done, way = set(), []

    def visit(room):
        if room in way:
            return way[way.index(room):] + [room]
        if room in done:
            return None
        way.append(room)
        for target in sorted(edges.get(room, ())):
            cycle = visit(target)
            if cycle:
                return cycle
        way.pop()
        done.add(room)
        return None

    for start in sorted(edges):
        cycle = visit(start)
        if cycle:
            return cycle
    return None


def check(root):
    rooms, files, faults = read_table(root)
    used = {}  # room -> {room: "FILE:LINE" of the first include}
    for path, number, target in includes(root):
        at = f"{path}:{number}"
        if not target.startswith(tuple(t + "/" for t in TREES)) or ".." in target.split("/") \
                or not os.path.isfile(os.path.join(root, target)):
            faults.append(f'{at}: "{target}" is not a file as seen from the repository root')
            continue
        room, other = room_of(path), room_of(target)
        if room is None:
            continue  # tests may look into every room
        if room not in rooms:
            faults.append(f"{at}: room {room} has no line in {TABLE}")
            continue
        if other is None:
            faults.append(f'{at}: the house does not include from tests or contrib ("{target}")')
            continue
        if other == room:
            continue
        used.setdefault(room, {}).setdefault(other, at)
        allowed = rooms[room][0] | files.get(os.path.splitext(path)[0].removeprefix("relay/"), set())
        if other not in allowed and "all" not in allowed:
            faults.append(f'{at}: {room} may not include {other} ("{target}"), see {TABLE}')
    cycle = find_cycle({room: set(others) for room, others in used.items()})
    if cycle:
        faults.append(f"{used[cycle[0]][cycle[1]]}: rooms include each other in a circle: {' → '.join(cycle)}")
    planned = find_cycle({room: targets - {"all"} for room, (targets, _) in rooms.items()})
    if planned:
        faults.append(f"{TABLE}:{rooms[planned[0]][1]}: the table allows a circle: {' → '.join(planned)}")
    return faults


if __name__ == "__main__":
    tree.run(check)
