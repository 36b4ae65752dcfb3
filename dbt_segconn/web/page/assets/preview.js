"use strict";
// The preview of a mapping on records, asked of the warehouse when the reader asks for it.

// One section for as long as its mapping is looked at, so that a refresh leaves it as it is.
function previewOf(mapping) {
  if (state.preview?.id !== mapping.id) state.preview = { id: mapping.id, section: preview(mapping) };
  return state.preview.section;
}

function preview(mapping) {
  const record = element("input", { id: "record", "data-key": "record", type: "search", placeholder: "Identifier of a record; any by default", autocomplete: "off", spellcheck: "false" });
  const kind = element("select", { id: "kind", "data-key": "kind" }, ["as the mapping sends", "added", "updated", "deleted"].map((one, at) => element("option", { value: at ? one : "" }, one)));
  const button = element("button", { type: "submit", "data-key": "preview" }, "Preview");
  const shown = element("div", { className: "previews", "aria-live": "polite" });
  const ask = async (event) => {
    event.preventDefault();
    button.disabled = true;
    shown.replaceChildren(none("Asking the warehouse…"));
    const answer = await fetched("api/preview", { mapping: mapping.id, record: record.value, change_type: kind.value });
    button.disabled = false;
    shown.replaceChildren(...(answer.problem ? [problem(answer.problem)] : previews(answer)));
  };
  return section("Preview",
    none("The calls that a run would send now. Nothing is sent; the warehouse is asked when you ask for it."),
    element("form", { className: "ask", onsubmit: ask },
      element("label", {}, element("span", {}, "Record"), record), element("label", {}, element("span", {}, "Changes"), kind), button),
    shown);
}

function askFor(record) {
  $("record").value = record;
  $("record").form.requestSubmit();
  $("record").closest("section").scrollIntoView();
}

function previews({ calls, notes }) {
  return [
    notes.length ? element("ul", { className: "notes" }, notes.map((one) => element("li", {}, worded(one)))) : null,
    ...calls.map((one) => element("article", { className: "pair", "aria-label": `Record ${one.record_id}` },
      element("div", {}, element("h3", {}, "Record ", element("code", {}, one.record_id ?? "null"), " ", element("span", { className: `key ${one.change_type}` }, KIND_NAMES[one.change_type] ?? one.change_type)), listed(one.record)),
      element("div", {}, element("h3", {}, "Call"),
        one.changed?.length ? element("p", { className: "said" }, `Changed: ${one.changed.join(", ")}`) : null,
        one.unsent ? element("p", { className: "said warn" }, `A run does not send it: ${one.unsent}.`) : null,
        one.call ? listed(one.call) : element("p", { className: "said bad" }, `Would be discarded: ${one.discard}`)))),
  ].filter(Boolean);
}
