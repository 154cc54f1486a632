// Filters over metadata: the collection's typed fields, and what the hits seen so far hold beside them.

import { byId, element } from "./dom.js";
import { t } from "./i18n.js";

const MAX_FACETS = 10;
const MAX_VALUES = 8;
const DATE = /^\d{4}-\d{2}-\d{2}/;

export class Facets {
  constructor(place, changed) {
    this.place = place;
    this.changed = changed;
    this.reset({});
  }

  reset(fields) {
    this.fields = { ...fields };
    this.declared = new Set(Object.keys(fields));
    this.seen = new Map(); // field → (value → number of hits)
    this.chosen = new Map(); // field → Set of values, or { gte, lte }, or a boolean
    this.draw();
  }

  clear() {
    this.chosen.clear();
    this.draw();
    this.changed();
  }

  learn(hits, first) {
    if (first) this.seen = new Map();
    for (const { metadata } of hits) {
      for (const [name, value] of Object.entries(metadata ?? {})) {
        if (name === "group" || name === "title" || name === "name") continue;
        for (const one of Array.isArray(value) ? value : [value]) {
          if (one === null || typeof one === "object") continue;
          if (!this.fields[name] && Object.keys(this.fields).length < MAX_FACETS) this.fields[name] = typeOf(one);
          const counts = this.seen.get(name) ?? new Map();
          counts.set(one, (counts.get(one) ?? 0) + 1);
          this.seen.set(name, counts);
        }
      }
    }
    this.draw();
  }

  // The filter as the API takes it; undefined when nothing is chosen.
  filter() {
    const asked = {};
    for (const [name, chosen] of this.chosen) asked[name] = chosen instanceof Set ? [...chosen] : chosen;
    return Object.keys(asked).length ? asked : undefined;
  }

  draw() {
    const focused = document.activeElement?.dataset?.facet;
    const drawn = Object.entries(this.fields).map(([name, kind]) => this.facet(name, kind)).filter(Boolean);
    this.place.replaceChildren(...drawn);
    byId("filters").hidden = drawn.length === 0;
    byId("filters-clear").hidden = this.chosen.size === 0;
    byId("filter-count").textContent = this.chosen.size ? `(${this.chosen.size})` : "";
    if (focused) this.place.querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus();
  }

  facet(name, kind) {
    const control = { keyword: () => this.values(name), number: () => this.range(name, "number"), date: () => this.range(name, "date"), bool: () => this.bool(name) }[kind]();
    return control && element("fieldset", {}, element("legend", {}, name), control);
  }

  set(name, value) {
    if (value === undefined || (value instanceof Set && !value.size)) this.chosen.delete(name);
    else this.chosen.set(name, value);
    this.draw();
    this.changed();
  }

  values(name) {
    const chosen = this.chosen.get(name) ?? new Set();
    const counts = this.seen.get(name) ?? new Map();
    const known = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MAX_VALUES).map(([value]) => value);
    const shown = [...new Set([...chosen, ...known])];
    // as different as the hits themselves: no facet, unless the collection declares it
    if (!this.declared.has(name) && !chosen.size && counts.size > 3 * MAX_VALUES) return null;
    const toggle = (value) => {
      const next = new Set(chosen);
      if (!next.delete(value)) next.add(value);
      this.set(name, next);
    };
    const boxes = shown.map((value) =>
      element(
        "label",
        { class: "check" },
        element("input", { type: "checkbox", "data-facet": `${name}=${value}`, checked: chosen.has(value), onchange: () => toggle(value) }),
        element("span", {}, String(value)),
        element("small", {}, counts.get(value) ? String(counts.get(value)) : ""),
      ),
    );
    const other = element("input", { type: "text", "data-facet": `${name}+`, placeholder: t("another"), "aria-label": `${name}: ${t("another")}` });
    const add = (event) => {
      if (event.key === "Enter" && other.value.trim() && !chosen.has(other.value.trim())) toggle(other.value.trim());
    };
    other.addEventListener("keydown", add);
    return element("div", { class: "values" }, boxes, other);
  }

  range(name, type) {
    const chosen = this.chosen.get(name) ?? {};
    const input = (bound, label) =>
      element("label", {}, element("span", {}, t(label)), element("input", {
        type,
        step: "any",
        "data-facet": `${name}.${bound}`,
        value: chosen[bound] ?? "",
        onchange: (event) => {
          const { [bound]: _, ...rest } = chosen;
          const value = event.target.value;
          if (value !== "") rest[bound] = type === "number" ? Number(value) : value;
          this.set(name, Object.keys(rest).length ? rest : undefined);
        },
      }));
    return element("div", { class: "range" }, input("gte", "from"), input("lte", "to"));
  }

  bool(name) {
    const chosen = this.chosen.get(name);
    const choices = [["any", undefined], ["yes", true], ["no", false]];
    const options = choices.map(([label, value]) => element("option", { value: label, selected: chosen === value }, t(label)));
    const pick = (event) => this.set(name, choices.find(([label]) => label === event.target.value)[1]);
    return element("select", { "data-facet": name, "aria-label": name, onchange: pick }, options);
  }
}

function typeOf(value) {
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return "number";
  return DATE.test(value) ? "date" : "keyword";
}
