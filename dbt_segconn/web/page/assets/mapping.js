"use strict";
// One mapping: its history, its discarded records, its fields.

const SHOWN_SYNCS = 20;

function mappingView(id) {
  const mapping = mappingOf(id);
  if (!mapping) return missing("This mapping is neither in the project nor in its state tables.");
  const syncs = syncsOf(id);
  return [
    crumbs(),
    element("h1", { tabindex: "-1" }, element("span", {}, breakable(mapping.name)), pill(statusOf(mapping)), offTag(mapping)),
    facts([["Model", element("span", {}, breakable(mapping.model))], ["Action", mapping.action], ["Destination", mapping.destination], ["Sync mode", mapping.sync_mode.join(", ")],
      ["Unique identifier", mapping.identifier.join(", ")], ["Written in", mapping.file]]),
    ...(syncs.length ? [said(syncs[0]), ...explained(syncs[0])] : []),
    historyOf(syncs),
    discards(mapping),
    frozen || !mapping.is_in_project ? null : previewOf(mapping),
    Object.keys(mapping.fields).length ? section("Fields", fieldTable(mapping)) : null,
  ];
}

function crumbs(mapping) {
  return element("nav", { className: "crumbs", "aria-label": "Where you are" },
    element("a", { href: "#/" }, "Overview"), mapping ? [" / ", element("a", { href: linkTo("mapping", mapping.id) }, breakable(mapping.name))] : null);
}

function missing(text) {
  return [crumbs(), element("h1", { tabindex: "-1" }, "Not here"), none(text)];
}

function said(sync) {
  return sync.error ? element("p", { className: `said ${STATUSES[sync.status]?.[1] ?? "off"}` }, worded(sync.error)) : null;
}

function historyOf(syncs) {
  if (!syncs.length) return section("History", none("No sync yet: `dbt-segconn run` makes the first."));
  const isWhole = state.all.has(syncs[0].mapping_id);
  const rows = syncs.slice(0, isWhole ? syncs.length : SHOWN_SYNCS).map((sync) => element("tr", { className: "row" },
    element("th", { scope: "row" }, element("a", { href: linkTo("sync", sync.sync_id), className: "open", "data-key": sync.sync_id }, when(sync.started_at, short))),
    element("td", { className: "status" }, pill(sync.status), sync.is_baseline ? element("span", { className: "tag" }, "baseline") : null, sync.earlier?.length ? element("span", { className: "tag" }, "resumed") : null),
    count(sync.added), count(sync.updated), count(sync.deleted), count(sync.left_out), count(sync.discarded, "bad"), count(sync.confirmed),
    element("td", { className: "number soft" }, duration(sync))));
  return section("History",
    chart(syncs.slice(0, CHARTED_SYNCS).reverse()),
    table("Syncs of this mapping, newest first", ["Started", "Status", "#Added", "#Updated", "#Deleted", "#Left out", "#Discarded", "#Confirmed", "#Duration"], rows, { className: "history" }),
    syncs.length > SHOWN_SYNCS && !isWhole
      ? element("button", { type: "button", className: "more", onclick: () => { state.all.add(syncs[0].mapping_id); draw(); } }, `Show all ${number(syncs.length)}`) : null);
}

function discards(mapping) {
  const rows = state.snapshot.discards.filter((one) => one.mapping_id === mapping.id);
  if (!rows.length) return null;
  const why = none("Offered again in their latest form for 5 syncs or 14 days, then given up until they change.");
  if (!state.snapshot.has_identifiers) return section("Discarded records", why, reasonTable(grouped(rows)));
  const lines = rows.map((one) => element("tr", {},
    recordCell(one.record_id, mapping),
    element("td", {}, KIND_NAMES[one.change_type] ?? one.change_type),
    element("td", { className: "wide" }, folded(one.reason)),
    count(one.attempts), element("td", {}, when(one.last_at, ago)),
    element("td", {}, one.given_up === "yes" ? element("span", { className: "tag bad" }, "given up") : "")));
  return section("Discarded records", why, table("Refusals that stand", ["Record", "Change", "Reason", "#Attempts", "Last", ""], lines));
}

// A record that can be previewed leads to its preview.
function recordCell(id, mapping) {
  const isPreviewed = !frozen && id !== null && mapping?.is_in_project;
  return element("th", { scope: "row", className: "mono" }, isPreviewed ? element("a", { href: `${linkTo("mapping", mapping.id)}/${encodeURIComponent(id)}` }, id) : id ?? "null");
}

function grouped(rows) {
  const groups = new Map();
  for (const { change_type: kind, reason } of rows) {
    const key = JSON.stringify([kind, reason]);
    groups.set(key, { change_type: kind, reason, refused: (groups.get(key)?.refused ?? 0) + 1 });
  }
  return [...groups.values()].sort((one, other) => other.refused - one.refused);
}

function reasonTable(reasons) {
  return table("Reasons of refusals", ["Reason", "Change", "#Records"], reasons.map((one) => element("tr", {},
    element("th", { scope: "row", className: "wide" }, folded(one.reason)), element("td", {}, KIND_NAMES[one.change_type] ?? one.change_type), count(one.refused, "bad"))));
}

function fieldTable(mapping) {
  return table("Fields of the call, and what fills them", ["Field", "Filled with"], flat(mapping.fields).map(([path, value]) => element("tr", {},
    element("th", { scope: "row", className: "mono" }, breakable(path)), element("td", { className: "mono wide" }, folded(plain(value))))));
}
