// The view of one mapping: its history, its discarded records and its fields.

import { CHARTED_SYNCS, chart } from "./chart.js";
import {
  ago,
  breakable,
  count,
  element,
  facts,
  flatten,
  foldable,
  none,
  number,
  plain,
  section,
  short,
  table,
  when,
  withCode,
} from "./elements.js";
import { offTag } from "./overview.js";
import { pastOf } from "./past.js";
import { previewOf } from "./preview.js";
import {
  changeName,
  duration,
  frozen,
  linkTo,
  mappingOf,
  notesOn,
  pill,
  redraw,
  STATUSES,
  state,
  statusOf,
  syncsOf,
} from "./snapshot.js";

const SHOWN_SYNCS = 20;

export function mappingView(id) {
  const mapping = mappingOf(id);
  if (!mapping) return missing("This mapping is neither in the project nor in its state tables.");
  const syncs = syncsOf(id);
  return [
    crumbs(),
    element(
      "h1",
      { tabindex: "-1" },
      element("span", {}, breakable(mapping.name)),
      pill(statusOf(mapping)),
      offTag(mapping),
    ),
    facts([
      ["Model", element("span", {}, breakable(mapping.model))],
      ["Action", mapping.action],
      ["Destination", mapping.destination],
      ["Sync mode", mapping.sync_mode.join(", ")],
      ["Unique identifier", mapping.identifier.join(", ")],
      ["File", mapping.file],
    ]),
    ...(syncs.length ? [errorMessage(syncs[0]), ...notesOn(syncs[0])] : []),
    historyOf(syncs),
    discards(mapping),
    frozen ? null : pastOf(mapping),
    frozen || !mapping.is_in_project ? null : previewOf(mapping),
    Object.keys(mapping.fields).length ? section("Fields", fieldTable(mapping)) : null,
  ];
}

export function crumbs(mapping) {
  return element(
    "nav",
    { className: "crumbs", "aria-label": "Breadcrumb" },
    element("a", { href: "#/" }, "Overview"),
    mapping ? [" / ", element("a", { href: linkTo("mapping", mapping.id) }, breakable(mapping.name))] : null,
  );
}

export function missing(text) {
  return [crumbs(), element("h1", { tabindex: "-1" }, "Not found"), none(text)];
}

export function errorMessage(sync) {
  return sync.error
    ? element("p", { className: `message ${STATUSES[sync.status]?.[1] ?? "off"}` }, withCode(sync.error))
    : null;
}

function historyOf(syncs) {
  if (!syncs.length) return section("History", none("No sync yet. Start one with `dbt-segconn run`."));
  const isWhole = state.all.has(syncs[0].mapping_id);
  const rows = syncs
    .slice(0, isWhole ? syncs.length : SHOWN_SYNCS)
    .map((sync) =>
      element(
        "tr",
        { className: "row" },
        element(
          "th",
          { scope: "row" },
          element(
            "a",
            { href: linkTo("sync", sync.sync_id), className: "open", "data-key": sync.sync_id },
            when(sync.started_at, short),
          ),
        ),
        element(
          "td",
          { className: "status" },
          pill(sync.status),
          sync.is_baseline ? element("span", { className: "tag" }, "baseline") : null,
          sync.earlier?.length ? element("span", { className: "tag" }, "resumed") : null,
        ),
        count(sync.added),
        count(sync.updated),
        count(sync.deleted),
        count(sync.left_out),
        count(sync.discarded, "bad"),
        count(sync.confirmed),
        element("td", { className: "number soft" }, duration(sync)),
      ),
    );
  return section(
    "History",
    chart(syncs.slice(0, CHARTED_SYNCS).reverse()),
    table(
      "Syncs of this mapping, newest first",
      ["Started", "Status", "#Added", "#Updated", "#Deleted", "#Left out", "#Discarded", "#Confirmed", "#Duration"],
      rows,
      { className: "history" },
    ),
    syncs.length > SHOWN_SYNCS && !isWhole
      ? element(
          "button",
          {
            type: "button",
            className: "more",
            onclick: () => {
              state.all.add(syncs[0].mapping_id);
              redraw();
            },
          },
          `Show all ${number(syncs.length)}`,
        )
      : null,
  );
}

function discards(mapping) {
  const rows = state.snapshot.discards.filter((one) => one.mapping_id === mapping.id);
  if (!rows.length) return null;
  const hint = none("Retried with their latest values for 5 syncs or 14 days, then given up until they change.");
  if (!state.snapshot.has_identifiers) return section("Discarded records", hint, reasonTable(grouped(rows)));
  const lines = rows.map((one) =>
    element(
      "tr",
      {},
      recordCell(one.record_id, mapping),
      element("td", {}, changeName(one.change_type)),
      element("td", { className: "wide" }, foldable(one.reason)),
      count(one.attempts),
      element("td", {}, when(one.last_at, ago)),
      element("td", {}, one.given_up === "yes" ? element("span", { className: "tag bad" }, "given up") : ""),
    ),
  );
  return section(
    "Discarded records",
    hint,
    table("Open discards", ["Record", "Change", "Reason", "#Attempts", "Last", ""], lines),
  );
}

// Links a record to its preview, if it can be previewed.
export function recordCell(id, mapping) {
  const isPreviewed = !frozen && id !== null && mapping?.is_in_project;
  return element(
    "th",
    { scope: "row", className: "mono" },
    isPreviewed
      ? element("a", { href: `${linkTo("mapping", mapping.id)}/${encodeURIComponent(id)}` }, id)
      : (id ?? "null"),
  );
}

function grouped(rows) {
  const groups = new Map();
  for (const { change_type: changeType, reason } of rows) {
    const key = JSON.stringify([changeType, reason]);
    groups.set(key, { change_type: changeType, reason, refused: (groups.get(key)?.refused ?? 0) + 1 });
  }
  return [...groups.values()].sort((one, other) => other.refused - one.refused);
}

export function reasonTable(reasons) {
  return table(
    "Reasons of discards",
    ["Reason", "Change", "#Records"],
    reasons.map((one) =>
      element(
        "tr",
        {},
        element("th", { scope: "row", className: "wide" }, foldable(one.reason)),
        element("td", {}, changeName(one.change_type)),
        count(one.refused, "bad"),
      ),
    ),
  );
}

function fieldTable(mapping) {
  return table(
    "Fields of the call and their values",
    ["Field", "Value"],
    flatten(mapping.fields).map(([path, value]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row", className: "mono" }, breakable(path)),
        element("td", { className: "mono wide" }, foldable(plain(value))),
      ),
    ),
  );
}
