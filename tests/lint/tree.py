"""What the checks of this folder share: which files there are, and how a check is run by hand."""
import os
import sys

HOUSE = ("relay", "queue", "dns")
TREES = HOUSE + ("tests", "contrib")
NOT_OURS = ("node_modules", "__pycache__")


def files(root, endings):
    """Every file of the trees that ends so, as seen from the root, in a fixed order."""
    for tree in TREES:
        for folder, subfolders, names in os.walk(os.path.join(root, tree)):
            subfolders[:] = sorted(d for d in subfolders if d not in NOT_OURS)
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(folder, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def run(check):
    """CHECK [ROOT]: prints the faults, exits 1 if there are any."""
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    faults = check(root)
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)
