// Requests to the server, forms that send them, and the problems that it reports.

import { element, none, parse, section, withCode } from "./elements.js";

export async function fetchJson(path, query = {}) {
  try {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
    return answer.ok
      ? parse(await answer.text())
      : { problem: { title: `dbt-segconn ui returned HTTP status ${answer.status}.`, lines: [] } };
  } catch {
    return { problem: { title: "dbt-segconn ui does not answer. Is it still running?", lines: [] } };
  }
}

// A section that reads the warehouse only on request, by a form. `fields` has an element for each label.
export function askingSection({ title, about, fields, button, path, query, show }) {
  const shown = element("div", { className: "previews", "aria-live": "polite" });
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    shown.replaceChildren(none("Reading the warehouse…"));
    const answer = await fetchJson(path, query());
    button.disabled = false;
    shown.replaceChildren(...(answer.problem ? [problem(answer.problem)] : show(answer)));
  };
  const labels = Object.entries(fields).map(([label, field]) =>
    element("label", {}, element("span", {}, label), field),
  );
  const form = element("form", { className: "preview-form", onsubmit: submit }, labels, button);
  return section(title, none(about), form, shown);
}

export function problem({ title, lines }) {
  return element(
    "div",
    { className: "problem" },
    element("strong", {}, title),
    lines.length > 1
      ? element(
          "ul",
          {},
          lines.map((one) => element("li", {}, withCode(one))),
        )
      : lines.map((one) => element("p", {}, withCode(one))),
  );
}
