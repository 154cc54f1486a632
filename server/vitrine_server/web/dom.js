// Elements without markup in strings: what a record holds can never become HTML.

export const byId = (id) => document.getElementById(id);

// element("button", { class: "x", onclick: f, "aria-pressed": true }, "text", child, null)
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const icon = (name) =>
  svg("svg", { "aria-hidden": "true", viewBox: "0 0 24 24" }, svg("use", { href: `/web/icons.svg#${name}` }));
