"""Sum up for the demo what a day of changes in the shop has become: `show_calls.py CALLS FROM` reads the calls that
arrived from line FROM on, and the results of the last run."""

import json
import sys
from collections import Counter

# mapping → the words for what has changed in its model, and the title of its calls
STORY = {
    "customers.identify_customers": ({"added": "joined", "updated": "changed"}, "customer", "identify"),
    "customers.customer_deleted": ({"deleted": "left"}, "customer", "track Customer Deleted"),
    "customers.profile_changed": ({"updated": "edited"}, "customer profile", "track Profile Changed"),
    "plan_history.plan_changed": ({"added": "chosen"}, "plan", "track Plan Changed"),
    "accounts.group_accounts": ({"added": "opened", "updated": "changed"}, "account", "group"),
    "orders.order_completed": ({"added": "completed"}, "order", "track Order Completed"),
    "web_visits.page_views": ({"added": "viewed"}, "web page", "page"),
    "app_visits.screen_views": ({"added": "viewed"}, "app screen", "screen"),
}


def title(call):
    """Name a call by its type, a track call by its event, too."""
    return f"track {call['event']}" if call["type"] == "track" else call["type"]


def counted(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def changes(counts, words, noun):
    """Say what has changed: `3 customers joined, 9 changed`."""
    (kind, word), *others = words.items()
    return ", ".join([f"{counted(counts[kind], noun)} {word}", *(f"{counts[one]} {other}" for one, other in others)])


def main(path, first):
    with open(path, encoding="utf-8") as file:
        calls = [json.loads(line) for line in file]
    arrived = Counter(map(title, calls[first:]))
    with open("target/segconn/run_results.json", encoding="utf-8") as file:
        results = {one["name"]: one.get("counts") for one in json.load(file)["results"]}
    for name, (words, noun, kind) in STORY.items():
        print(f"  {changes(results[name], words, noun):<36} → {counted(arrived[kind], 'call'):>8}   {kind}")
    total = len(calls) - first
    print(f"\nThe first run sent {counted(first, 'call')}, all that the shop had. The second sent {counted(total, 'call')}:")
    print("what had changed, and nothing twice.")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
