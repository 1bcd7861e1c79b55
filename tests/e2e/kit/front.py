"""The front door in tests that behave badly at it: its configuration and its log."""

ALLOW_NONE = 'allow = { "127.0.0.1" }'


def clients(rules=""):
    """The section, with only 127.0.0.1 above the law."""
    return f'clients {{ {ALLOW_NONE}  {rules} }}\n'


def counter_lines(r, event):
    return [line for line in r.process.errors().splitlines() if f"event={event} " in line]
