#!/usr/bin/env python3
"""Do the checks see what they are there for? Each case changes one thing in a small sound house."""
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import forbidden  # noqa: E402
import layers  # noqa: E402

TABLE = """# plan
```layers
base →
loop → base
mail → base            # pure
dns → base
dns/resolver → loop
queue → base
relay → all
```
"""
HOUSE = {
    "relay/README.md": TABLE,
    "relay/main.c": '#include "relay/mail/m.h"\n#include "dns/plan.h"\n',
    "relay/base/README.md": "", "relay/base/b.h": "/* strcpy( in words */\n#include <string.h>\n",
    "relay/loop/README.md": "", "relay/loop/l.h": '#include "relay/base/b.h"\n',
    "relay/mail/README.md": "", "relay/mail/m.h": '#include "relay/base/b.h"\n',
    "relay/mail/m.c": 'const char *m = "open(";\n',
    "dns/README.md": "", "dns/plan.h": "", "dns/resolver.c": '#include "relay/loop/l.h"\n#include "dns/plan.h"\n',
    "queue/README.md": "", "queue/file.c": "int f(void)\n{\n    return open(p, 0);\n}\n",
    "queue/spool.c": "int s(void)\n{\n    return ops->write(1) + spool_open(2) + ops.rename(3);\n}\n",
    "tests/unit/dns/t.c": '#include "dns/plan.h"\n#include "relay/mail/m.h"\n',
}
# (check, {file: new text, None takes it away}, what a fault must begin with)
CASES = [
    (layers, {"relay/mail/m.h": '\n#include "relay/loop/l.h"\n'}, "relay/mail/m.h:2: mail may not include loop"),
    (layers, {"dns/plan.h": '#include "relay/loop/l.h"\n'}, "dns/plan.h:1: dns may not include loop"),
    (layers, {"queue/spool.c": '  #  include "relay/mail/m.h"\n'}, "queue/spool.c:1: queue may not include mail"),
    (layers, {"relay/mail/m.c": '#include "m.h"\n'}, 'relay/mail/m.c:1: "m.h" is not a file as seen from'),
    (layers, {"relay/mail/m.c": '#include "../base/b.h"\n'}, 'relay/mail/m.c:1: "../base/b.h" is not'),
    (layers, {"relay/mail/m.c": '#include "relay/mail/../base/b.h"\n'}, 'relay/mail/m.c:1: "relay/mail/../base'),
    (layers, {"tests/unit/dns/t.c": '#include "plan.h"\n'}, 'tests/unit/dns/t.c:1: "plan.h" is not'),
    (layers, {"relay/new/n.c": '#include "relay/base/b.h"\n'}, "relay/new/n.c:1: room new has no line"),
    (layers, {"relay/main.c": '#include "tests/unit/dns/t.c"\n'}, "relay/main.c:1: the house does not include"),
    (layers, {"relay/base/b.h": '#include "relay/mail/m.h"\n'}, "relay/base/b.h:1: rooms include each other"),
    (layers, {"relay/README.md": TABLE.replace("base →", "base → mail")}, "relay/README.md:3: the table allows a"),
    (layers, {"relay/README.md": TABLE.replace("queue → base", "queue → bass")}, "relay/README.md:8: no room is"),
    (layers, {"relay/README.md": "# plan\n"}, "relay/README.md:1: holds no fenced block"),
    (forbidden, {"relay/mail/m.c": "int x;\nint y = atoi (s);\n"}, "relay/mail/m.c:2: atoi()"),
    (forbidden, {"tests/unit/dns/t.c": "/* a\n b */ strcpy(a, b);\n"}, "tests/unit/dns/t.c:2: strcpy()"),
    (forbidden, {"relay/mail/m.c": "int fd = open(path, 0);\n"}, "relay/mail/m.c:1: open()"),
    (forbidden, {"queue/spool.c": "int n = pwrite(fd, p, 1, 0);\n"}, "queue/spool.c:1: pwrite()"),
    (forbidden, {"dns/plan.h": "int64_t t = time(NULL);\n"}, "dns/plan.h:1: time()"),
    (forbidden, {"dns/resolver.c": 'LOG(LV_INFO, "x", LOG_N("n", 1));\n'}, "dns/resolver.c:1: LOG()"),
    (forbidden, {"relay/main.c": 'int r = system("id");\n'}, "relay/main.c:1: system()"),
    (forbidden, {"relay/mail/README.md": None}, "relay/mail/README.md:1: missing"),
    (forbidden, {"relay/mail/m.c": "int x;\n" * 600}, "relay/mail/m.c:600: 600 lines or more"),
]


def build(root, files):
    for path, text in files.items():
        if text is None:
            continue
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def faults_of(check, change):
    with tempfile.TemporaryDirectory() as root:
        build(root, {**HOUSE, **change})
        return check.check(root)


def main():
    wrong = []
    for check in (layers, forbidden):
        for fault in faults_of(check, {}):
            wrong.append(f"the sound house is blamed: {fault}")
    for check, change, start in CASES:
        found = faults_of(check, change)
        if not any(fault.startswith(start) for fault in found):
            wrong.append(f"not seen: {start} (found: {found})")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
