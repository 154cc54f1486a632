// Query and hit side by side, and the evidence for their score from POST /v1/compare.

import * as api from "./api.js";
import { element, icon, svg } from "./dom.js";
import { number, t } from "./i18n.js";
import { reportButtons } from "./reports.js";
import { scoreOf, titleOf } from "./results.js";

const MODES = ["heat", "matches", "difference", "plain"];
const WARM = [213, 94, 0];
const COOL = [0, 114, 178];

export class Viewer {
  // page: { source(), hits(), collection() }
  constructor(dialog, page) {
    this.dialog = dialog;
    this.page = page;
    this.index = 0;
    this.mode = "heat";
    this.found = null;
    this.problem = null;
    dialog.addEventListener("close", () => this.running?.abort());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step && !event.target.closest("input")) this.open(this.index + step);
    });
    new ResizeObserver(() => this.lines()).observe(dialog);
  }

  async open(index) {
    const hit = this.page.hits()[index];
    if (!hit) return;
    this.running?.abort();
    this.index = index;
    this.found = this.problem = null;
    this.source = this.page.source();
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    if (!this.source) return;
    const running = (this.running = new AbortController());
    try {
      const found = await api.compare(...(await this.sides(hit)), running.signal);
      if (this.running === running) this.found = found;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (this.running === running) this.problem = error;
    }
    this.draw();
  }

  // Query and hit, as the API takes them.
  async sides(hit) {
    const collection = this.page.collection();
    const { file, id } = this.source;
    const query = file ? { image: await api.base64(file) } : { item_id: id, collection };
    return [query, { item_id: hit.id, collection }];
  }

  draw() {
    const hit = this.page.hits()[this.index];
    if (!hit) return;
    const focused = this.dialog.contains(document.activeElement) ? document.activeElement.id : null;
    const step = (by, label, image) =>
      element("button", { type: "button", id: `viewer-${image}`, "aria-label": t(label), disabled: this.page.hits()[this.index + by] ? null : "", onclick: () => this.open(this.index + by) }, icon(image));
    const shown = [
      element(
        "header",
        {},
        element("h2", { id: "viewer-title" }, titleOf(hit)),
        element("p", { class: "score" }, `${t("score")} ${scoreOf(hit)}`),
        step(-1, "previous", "left"),
        step(1, "next", "right"),
        element("button", { type: "button", id: "viewer-close", "aria-label": t("close"), onclick: () => this.dialog.close() }, icon("close")),
      ),
      this.tabs(),
      this.stage(hit),
      element("div", { class: "evidence", role: "status" }, this.evidence()),
      this.judgement(hit),
      this.found && reportButtons("comparison-report", async (format) => api.compareReport(...(await this.sides(hit)), format)),
      this.metadata(hit),
    ];
    this.dialog.replaceChildren(...shown.filter(Boolean));
    if (focused) this.dialog.querySelector(`#${focused}`)?.focus();
    requestAnimationFrame(() => this.lines());
  }

  tabs() {
    const usable = (mode) => mode === "plain" || (this.found && (mode !== "difference" || this.found.difference));
    if (this.found && !usable(this.mode)) this.mode = "heat";
    const choice = (mode) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: "mode", id: `mode-${mode}`, value: mode, checked: mode === this.mode ? "" : null, disabled: usable(mode) ? null : "", onchange: () => this.show(mode) }),
        element("span", {}, t(mode)),
      );
    return element("fieldset", { class: "tabs" }, element("legend", { class: "hidden-input" }, t("show")), MODES.map(choice));
  }

  show(mode) {
    this.mode = mode;
    this.draw();
  }

  stage(hit) {
    if (this.found && this.mode === "difference") {
      const key = (kind, label) => element("li", { class: kind }, t(label));
      return element(
        "figure",
        { class: "difference" },
        element("img", { src: this.found.difference.overlay, alt: t("difference") }),
        element("ul", { class: "legend" }, key("both", "both"), key("only-query", "onlyQuery"), key("only-hit", "onlyHit")),
      );
    }
    return element("div", { class: "pair" }, this.pane("a", t("yourQuery")), this.pane("b", titleOf(hit), hit.id), svg("svg", { class: "lines", "aria-hidden": "true" }));
  }

  pane(side, caption, id) {
    const picture = element("img", { alt: caption });
    if (this.found) picture.src = this.found[side].view;
    else if (side === "b") this.thumbnail(picture, id);
    else if (this.source?.file) picture.src = URL.createObjectURL(this.source.file);
    else if (this.source) this.thumbnail(picture, this.source.id);
    const shown = this.source || side === "b" ? picture : element("p", { class: "missing" }, t("noQueryImage"));
    const heat = this.found && this.mode === "heat" ? heatMap(this.found[side].heat) : null;
    return element("figure", { class: "pane" }, element("div", { class: "view", "data-side": side }, shown, heat), element("figcaption", {}, caption));
  }

  async thumbnail(picture, id) {
    picture.src = await api.thumbnail(this.page.collection(), id).catch(() => "");
  }

  evidence() {
    if (this.problem) return element("p", { class: "problem" }, [this.problem.message, this.problem.accepted].filter(Boolean).join(" — "));
    if (!this.source) return null;
    if (!this.found) return element("p", { class: "busy" }, t("explaining"));
    const { a, b, matches, difference, shown_score: score } = this.found;
    const mean = (name) => number2((a[name] + b[name]) / 2);
    const text = {
      heat: () => [t("heatText"), t("checkText", { score: number2(score), top: mean("fall_top"), random: mean("fall_random") })],
      matches: () => [t("matchText", { n: matches.length })],
      difference: () => [t("agreement", { n: Math.round(100 * difference.agreement) }), poseText(difference.pose)],
      plain: () => [],
    }[this.mode]();
    return [...text.map((line) => element("p", {}, line)), element("p", { class: "quiet" }, t("verdict"))];
  }

  judgement(hit) {
    if (!api.canJudge(this.source)) return null;
    const shown = element("span", { role: "status" });
    const say = async (verdict) => {
      const body = { item: hit.id, verdict, score: hit.score, rank: this.index + 1 };
      shown.textContent = await api.judge(this.page.collection(), this.source, body).then(() => t("judged_"), (problem) => problem.message);
    };
    const button = (verdict) => element("button", { type: "button", onclick: () => say(verdict) }, t(verdict));
    return element("div", { class: "judge" }, t("judge"), button("right"), button("wrong"), shown);
  }

  metadata(hit) {
    const rows = Object.entries({ id: hit.id, ...hit.metadata }).map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))),
    );
    return element("dl", { "aria-label": t("metadata") }, rows);
  }

  // Lines between matching regions, in the pixels of the pair as it is laid out now.
  lines() {
    const layer = this.dialog.querySelector(".lines");
    if (!layer) return;
    layer.replaceChildren();
    if (!this.found || this.mode !== "matches") return;
    const origin = layer.getBoundingClientRect();
    const views = Object.fromEntries([...this.dialog.querySelectorAll(".view")].map((view) => [view.dataset.side, view.getBoundingClientRect()]));
    const place = (side, [left, top, width, height]) => {
      const view = views[side];
      return { x: view.left - origin.left + left * view.width, y: view.top - origin.top + top * view.height, width: width * view.width, height: height * view.height };
    };
    this.found.matches.forEach((match, index) => {
      const ends = [place("a", match.a), place("b", match.b)];
      const [from, to] = ends.map((box) => ({ x: box.x + box.width / 2, y: box.y + box.height / 2 }));
      layer.append(
        svg("g", { class: `match match-${index % 4}` },
          ...ends.map((box) => svg("rect", box)),
          svg("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y }),
          ...[from, to].flatMap((end) => [svg("circle", { cx: end.x, cy: end.y, r: 10 }), svg("text", { x: end.x, y: end.y }, String(index + 1))])),
      );
    });
  }
}

const number2 = (value) => value.toFixed(2);

function poseText({ degrees, scale, mirrored }) {
  const turned = Math.round(((degrees + 540) % 360) - 180);
  return t("pose", { degrees: turned, scale: number2(scale), mirrored: mirrored ? t("mirrored") : "" });
}

// One pixel a patch, smoothed by the browser; alpha says how much, hue says which way.
function heatMap(heat) {
  const side = heat.length;
  const canvas = element("canvas", { class: "heat", width: side, height: side, "aria-hidden": "true" });
  const image = new ImageData(side, side);
  const largest = Math.max(1e-6, ...heat.flat().map(Math.abs));
  heat.flat().forEach((value, index) => {
    const [red, green, blue] = value >= 0 ? WARM : COOL;
    image.data.set([red, green, blue, 190 * Math.sqrt(Math.abs(value) / largest)], 4 * index);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
