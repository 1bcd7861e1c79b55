#!/usr/bin/env python3
"""Calls that the house does without, rooms without a README, files that grew too long.

usage: forbidden.py [ROOT]

Comments and strings are not looked at; `ops->write(…)` and `spool_open(…)` are no system calls. A rule is one row of
RULES; an exception is one row of ALLOWED with its reason. Prints FILE:LINE: message for each fault, exits 1.
"""
import os
import re

import tree
from tree import HOUSE, TREES

LINES_MAX = 599

# rule: (where it holds, the calls, what to do instead)
RULES = {
    "text": (TREES, "strcpy strcat stpcpy strncpy strncat sprintf vsprintf strtok strtok_r atoi atol atoll atof "
                    "sscanf vsscanf gets alloca",
             "use struct slice and struct buf (relay/base)"),
    "process": (HOUSE, "system popen", "no shell: what is not in the house is a library"),
    "files": (HOUSE, "open openat open64 creat fopen freopen fdopen tmpfile mkstemp mkostemp mkdtemp write writev "
                     "pwrite pwritev pwritev2 fwrite sendfile fsync fdatasync sync_file_range ftruncate truncate "
                     "fallocate posix_fallocate rename renameat renameat2 link linkat symlink symlinkat unlink "
                     "unlinkat remove mkdir mkdirat rmdir chmod fchmod chown fchown flock",
              "files are written through queue/file.h, sockets through libuv"),
    "clock": (HOUSE, "time gettimeofday clock_gettime clock uv_now uv_hrtime uv_update_time localtime localtime_r "
                     "mktime", "the time is handed in (relay/base/clock.h)"),
    "chance": (HOUSE, "rand rand_r srand random srandom drand48 getrandom getentropy arc4random",
               "chance is handed in (relay/base/rand.h)"),
    "sleep": (HOUSE, "sleep usleep nanosleep clock_nanosleep", "wait with a deadline of the loop"),
    "log": (("queue", "dns", "relay/mail", "relay/smtp", "relay/tls"),
            "LOG log_write printf vprintf fprintf vfprintf dprintf puts fputs putchar perror syslog",
            "a library room returns what happened; the edge says it once"),
}

# (rule, file or folder, reason)
ALLOWED = [
    ("files", "queue/file", "queue/file*.c: the one table of system calls below the spool"),
    ("files", "relay/events/", "the delivery log's files"),
    ("files", "relay/conf/", "reads the configuration, writes the users file"),
    ("files", "relay/outbound/secrets.c", "reads passwords and tokens, on a thread of its own"),
    ("files", "relay/cli/", "verbs make and read files for a person"),
    ("files", "relay/sink/", "files received mail into a Maildir"),
    ("files", "relay/base/maildir.c", "a Maildir, for the sink and for captured mail"),
    ("files", "relay/base/log.c", "one write(2) a line to standard error"),
    ("files", "relay/main.c", "standard input and output of the program"),
    ("files", "relay/identity.c", "missing folders are made and given to the account at the start"),
    ("clock", "relay/base/clock.c", "the one place that asks the kernel"),
    ("clock", "relay/loop/", "a loop's own time drives its timers"),
    ("chance", "relay/base/rand.c", "the one place that asks the kernel"),
    ("sleep", "relay/cli/", "a verb that follows a file has no loop"),
]

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
PATTERNS = {rule: re.compile(r"(?<![\w.>])(" + "|".join(calls.split()) + r")\s*\(")
            for rule, (_, calls, _) in RULES.items()}


def without_text(source):
    """The code with comments and literals blanked, line numbers kept."""
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), source)


def is_in(path, places):
    return any(path.startswith(place + "/") for place in places)


def is_allowed(rule, path):
    return any(rule == r and path.startswith(place) for r, place, _ in ALLOWED)


def calls(path, source):
    rules = [r for r, (where, _, _) in RULES.items() if is_in(path, where) and not is_allowed(r, path)]
    for number, line in enumerate(without_text(source).split("\n"), 1):
        for rule in rules:
            for match in PATTERNS[rule].finditer(line):
                yield f"{path}:{number}: {match.group(1)}(): {RULES[rule][2]}"


def check(root):
    faults, rooms = [], set()
    for path in tree.files(root, (".c", ".h", ".py")):
        source = tree.read(root, path)
        if source.count("\n") > LINES_MAX:
            faults.append(f"{path}:{LINES_MAX + 1}: 600 lines or more: which two things is it?")
        if path.endswith(".py"):
            continue
        faults.extend(calls(path, source))
        if is_in(path, HOUSE):
            rooms.add(os.path.dirname(path))
    for room in sorted(rooms):
        if not os.path.isfile(os.path.join(root, room, "README.md")):
            faults.append(f"{room}/README.md:1: missing: what is this room, and where would one change X?")
    return faults


if __name__ == "__main__":
    tree.run(check)
