// The past of one record: its confirmed calls and discards. It reads the warehouse only on request.

import { element, foldable, short, table, when, withCode } from "./elements.js";
import { askingSection } from "./requests.js";
import { changeName, linkTo, state } from "./snapshot.js";

// Keeps one section while its mapping is shown, so that a refresh does not clear it.
export function pastOf(mapping) {
  if (state.past?.id !== mapping.id) state.past = { id: mapping.id, section: past(mapping) };
  return state.past.section;
}

function past(mapping) {
  const record = element("input", {
    id: "past-record",
    "data-key": "past-record",
    type: "search",
    required: true,
    placeholder: "Identifier of a record",
    autocomplete: "off",
    spellcheck: "false",
  });
  const button = element("button", { type: "submit", "data-key": "past" }, "Show");
  return askingSection({
    title: "Record history",
    about: "Confirmed calls of one record, from the delivery log, and its discards.",
    fields: { Record: record },
    button,
    path: "api/past",
    query: () => ({ mapping: mapping.id, record: record.value }),
    show: pastRows,
  });
}

function pastRows({ rows, notes }) {
  const lines = rows.map((one) =>
    element(
      "tr",
      {},
      element("td", {}, when(one.at, short)),
      element("td", {}, changeName(one.change_type)),
      element("td", {}, one.outcome),
      element("td", { className: "wide" }, foldable(one.reason ?? changedColumns(one.changed))),
      element("td", { className: "mono" }, one.message_id ?? ""),
      element(
        "td",
        { className: "mono" },
        element("a", { href: linkTo("sync", one.sync_id) }, one.sync_id.slice(0, 8)),
      ),
    ),
  );
  return [
    lines.length
      ? table(
          "Past of the record, oldest first",
          ["Time", "Change", "Outcome", "Columns or reason", "messageId", "Sync"],
          lines,
        )
      : null,
    ...notes.map((one) => element("p", { className: "message" }, withCode(`${one}.`))),
  ].filter(Boolean);
}

function changedColumns(changed) {
  if (!changed) return "";
  return changed.length ? `Changed: ${changed.join(", ")}` : "No column changed";
}
