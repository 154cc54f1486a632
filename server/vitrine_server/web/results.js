// The grid of hits.

import * as api from "./api.js";
import { element, icon } from "./dom.js";
import { t } from "./i18n.js";

const MAX_DETAILS = 3;
const FIRST = 8; // cards that are drawn at once; the others follow when these can be seen
const SOON_MS = 300;
const whenIdle = globalThis.requestIdleCallback ?? ((call) => setTimeout(call, 50)); // not in Safari

export const titleOf = (hit) => String(hit.metadata?.title || hit.metadata?.name || hit.id);
export const scoreOf = (hit) => hit.score.toFixed(3);

export class Results {
  // on: { collection(), query(), open(index), more(id), judge(id, "like" | "dislike") }
  constructor(grid, on) {
    this.grid = grid;
    this.on = on;
    this.clear();
    grid.addEventListener("keydown", (event) => this.move(event));
  }

  clear() {
    this.hits = [];
    this.drawn = 0;
    this.grid.replaceChildren();
  }

  // Resolves when all of them are drawn.
  async append(hits) {
    this.hits.push(...hits);
    if (!this.drawn) this.draw(FIRST);
    await new Promise((resolve) => whenIdle(resolve, { timeout: SOON_MS }));
    this.draw(this.hits.length);
  }

  draw(end) {
    const next = this.hits.slice(this.drawn, end);
    this.grid.append(...next.map((hit, index) => this.card(hit, this.drawn + index)));
    this.drawn += next.length;
  }

  relabel() {
    this.drawn = 0;
    this.grid.replaceChildren();
    this.draw(this.hits.length);
  }

  card(hit, index) {
    const picture = element("img", {
      alt: "",
      loading: index < FIRST ? "eager" : "lazy",
      elementtiming: index === 0 ? "first-result" : null, // benchmarks/web_page.py reads when it was painted
    });
    this.show(picture, hit.id);
    const bar = element("span", { class: "bar" });
    bar.style.setProperty("--score", Math.max(0, Math.min(1, hit.score)));
    return element(
      "li",
      { class: "card" },
      element(
        "button",
        { type: "button", class: "picture", "aria-label": t("open", { id: titleOf(hit), score: scoreOf(hit) }), onclick: () => this.on.open(index) },
        picture,
        bar,
      ),
      element("p", { class: "title" }, element("strong", { title: hit.id }, titleOf(hit)), element("span", { class: "score" }, scoreOf(hit))),
      hit.evidence ? element("p", { class: "details whole" }, copyDetails(hit)) : element("p", { class: "details" }, details(hit)),
      this.actions(hit),
    );
  }

  actions(hit) {
    const { likes, dislikes } = this.on.query();
    const judge = (kind, chosen, name, image) =>
      element(
        "button",
        { type: "button", title: t(kind), "aria-label": t(name, { id: titleOf(hit) }), "aria-pressed": String(chosen.has(hit.id)), onclick: () => this.on.judge(hit.id, kind) },
        icon(image),
      );
    return element(
      "div",
      { class: "actions" },
      element("button", { type: "button", "aria-label": t("moreLike", { id: titleOf(hit) }), onclick: () => this.on.more(hit.id) }, icon("more"), t("moreLikeThis")),
      judge("like", likes, "likeItem", "up"),
      judge("dislike", dislikes, "dislikeItem", "down"),
    );
  }

  async show(picture, id) {
    picture.addEventListener("error", () => picture.replaceWith(element("span", { class: "missing" }, t("noImage"))), { once: true });
    try {
      picture.src = await api.thumbnail(this.on.collection(), id);
    } catch {
      picture.dispatchEvent(new Event("error"));
    }
  }

  // Arrow keys walk over the pictures as they lie in the grid.
  move(event) {
    const here = event.target.closest(".card");
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!here || (!rows && !steps)) return;
    const cards = [...this.grid.children];
    const columns = cards.findIndex((card) => card.offsetTop > cards[0].offsetTop);
    const there = cards[cards.indexOf(here) + (steps ?? rows * (columns < 0 ? cards.length : columns))];
    if (!there) return;
    event.preventDefault();
    there.querySelector(".picture").focus();
  }
}

// What a copy's score is made of.
function copyDetails({ copy, evidence: { hash, deep, alignment } }) {
  const parts = [
    t(copy ? "isCopy" : "noCopy"),
    hash && t("hashBits", { n: hash.distance, orientation: hash.orientation }),
    t("cosine", { n: deep.cosine.toFixed(3) }),
    alignment && t("alignedPoints", { n: alignment.points }),
  ];
  return parts.filter(Boolean).join(" · ");
}

function details(hit) {
  const shown = Object.entries(hit.metadata ?? {})
    .filter(([name, value]) => typeof value === "string" && !["title", "name", "group"].includes(name))
    .slice(0, MAX_DETAILS)
    .map(([, value]) => value);
  return [hit.group, ...shown].filter(Boolean).join(" · ");
}
