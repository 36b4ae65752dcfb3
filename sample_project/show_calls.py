"""Print calls for the demo: `preview` from standard input, or those that have `arrived` in a file."""

import json
import sys
from collections import Counter, defaultdict


def title(call):
    name = call.get("event") or call.get("name") or ""
    return f"{call['type']} {name}".strip()


def preview(lines):
    decoder, text = json.JSONDecoder(), "".join(lines).strip()
    while text:
        shown, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        print(f"{shown['mapping']:<32} {shown['kind']:<8} {shown['record_id']:<10} {title(shown['call'])}")


def arrived(path):
    with open(path, encoding="utf-8") as file:
        calls = [json.loads(line) for line in file]
    syncs = defaultdict(Counter)
    for call in calls:
        # a messageId begins with what all calls of one sync share
        kind = call["type"] if call["type"] in ("page", "screen") else title(call)
        syncs[kind][call["messageId"].rpartition("-")[0]] += 1
    print(f"{'call':<26} {'in all':>7}   by sync")
    for kind, counts in syncs.items():
        print(f"{kind:<26} {counts.total():>7}   {', '.join(map(str, counts.values()))}")
    for wanted in ("identify", "track Order Completed"):
        print(f"\nThe last {wanted}:")
        print(json.dumps([call for call in calls if title(call) == wanted][-1], indent=2, ensure_ascii=False))


if __name__ == "__main__":
    preview(sys.stdin) if sys.argv[1] == "preview" else arrived(sys.argv[2])
