// The view of one sync: its records, and the reasons of discards.

import { breakable, element, facts, foldable, none, number, section, svgElement, table, when } from "./elements.js";
import { crumbs, errorMessage, missing, reasonTable, recordCell } from "./mapping.js";
import { changeName, duration, linkTo, mappingOf, notesOn, pill, state, syncsOf } from "./snapshot.js";

export function syncView(id) {
  const sync = state.snapshot.syncs.find((one) => one.sync_id === id);
  if (!sync) return missing("This sync is not in the history that was read.");
  const mapping = mappingOf(sync.mapping_id);
  const siblings = syncsOf(sync.mapping_id);
  const at = siblings.indexOf(sync);
  const reasons = state.snapshot.reasons.filter((one) => one.sync_id === id);
  return [
    crumbs(mapping),
    element("h1", { tabindex: "-1" }, element("span", {}, "Sync of ", when(sync.started_at)), pill(sync.status)),
    element(
      "nav",
      { className: "pager", "aria-label": "Other syncs of this mapping" },
      pagerLink("← Earlier", siblings[at + 1]),
      pagerLink("Later →", siblings[at - 1]),
    ),
    errorMessage(sync),
    ...notesOn(sync),
    sync.has_outbox && sync.status !== "in_progress"
      ? none(
          sync.status === "planned"
            ? "Its changes are staged for `run --apply`. The next run without it stages them again."
            : "Its outbox has undelivered changes. The next run delivers them first.",
        )
      : null,
    flow(sync),
    reasons.length
      ? section(
          "Reasons",
          reasonTable(reasons),
          sync.unidentified ? none("Records that share an identifier are counted once here.") : null,
        )
      : null,
    discardedRecords(sync, reasons),
    section(
      "Details",
      facts([
        ["Mapping", mapping && element("span", {}, breakable(mapping.name))],
        ["Started", when(sync.started_at)],
        ["Finished", sync.finished_at ? when(sync.finished_at) : "not yet"],
        ["Duration", duration(sync)],
        ["Sync mode", sync.is_baseline ? "baseline: nothing is sent" : sync.sync_mode.replaceAll(",", ", ")],
        ["Watermark", number(sync.watermark)],
        ["Sync", code(sync.sync_id)],
        ["Run", code(sync.run_id)],
        ["dbt invocation", code(sync.dbt_invocation_id)],
      ]),
    ),
  ];
}

const code = (text) => text && element("code", {}, text);
const pagerLink = (label, sync) =>
  sync ? element("a", { href: linkTo("sync", sync.sync_id) }, label) : element("span", { className: "soft" }, label);

function flow(sync) {
  const pending = Math.max(sync.to_send + sync.unidentified - sync.confirmed - sync.discarded, 0);
  const group = (title, total, parts) =>
    element(
      "div",
      { className: "stage" },
      element("h3", {}, title),
      element("p", { className: "total" }, number(total)),
      element(
        "ul",
        {},
        parts
          .filter(([, many, always]) => many || always)
          .map(([label, many, , tone]) =>
            element(
              "li",
              { className: many ? tone : "zero" },
              element("span", {}, label),
              element("b", {}, number(many)),
            ),
          ),
      ),
    );
  const done = [
    ["confirmed", sync.confirmed],
    ["discarded", sync.discarded],
    ["pending", pending],
  ];
  return section(
    "Records",
    element(
      "div",
      { className: "flow" },
      group("Extracted", sync.added + sync.updated + sync.deleted + sync.unidentified, [
        ["added", sync.added, true, "added"],
        ["updated", sync.updated, true, "updated"],
        ["deleted", sync.deleted, true, "deleted"],
        ["identifier null or not unique", sync.unidentified, false, "discarded"],
      ]),
      group("To send", sync.to_send, [
        [sync.is_baseline ? "left out: baseline" : "left out by the sync mode", sync.left_out, true, ""],
        ["held back: consent is missing", sync.held_back, false, ""],
      ]),
      group("Confirmed", sync.confirmed, [
        ["discarded", sync.discarded, true, "discarded"],
        ["not delivered", pending, false, ""],
        ["by a later run", sync.resumed, false, ""],
      ]),
    ),
    proportion(done),
  );
}

function proportion(parts) {
  const total = parts.reduce((sum, [, many]) => sum + many, 0);
  if (!total) return null;
  let x = 0;
  const svg = svgElement("svg", {
    class: "proportion",
    viewBox: "0 0 1000 8",
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": parts.map(([label, many]) => `${number(many)} ${label}`).join(", "),
  });
  for (const [label, many] of parts) {
    const width = (many / total) * 1000;
    if (many) svg.append(svgElement("rect", { x, y: 0, width: Math.max(width, 3), height: 8, class: label }));
    x += width;
  }
  return svg;
}

function discardedRecords(sync, reasons) {
  const rows = state.snapshot.discarded_records.filter((one) => one.sync_id === sync.sync_id);
  if (!rows.length)
    return reasons.length
      ? none(
          state.snapshot.has_identifiers
            ? "Its records are not among the newest discards that were read."
            : "This page does not include identifiers of records.",
        )
      : null;
  return section(
    "Discarded records",
    table(
      "Records that this sync discarded",
      ["Record", "Change", "Reason"],
      rows.map((one) =>
        element(
          "tr",
          {},
          recordCell(one.record_id, mappingOf(sync.mapping_id)),
          element("td", {}, changeName(one.change_type)),
          element("td", { className: "wide" }, foldable(one.reason)),
        ),
      ),
    ),
  );
}
