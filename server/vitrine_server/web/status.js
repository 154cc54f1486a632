// The status page: what /metrics, /readyz and /v1/collections say, every two seconds.

import * as api from "./api.js";
import { byId, element, icon, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const EVERY_MS = 2000;
const WINDOW = 30; // samples: the last minute
const STAGES = ["decode", "queue", "encode", "search", "hydrate", "store"];

export class StatusPage {
  // collection: () => the name of the one that is chosen
  constructor(collection) {
    this.collection = collection;
    this.watches = [];
    this.alerts = [];
    this.samples = [];
    this.timer = null;
    this.ready = null;
    this.collections = [];
  }

  run(on) {
    clearInterval(this.timer);
    this.timer = null;
    if (!on) return;
    this.timer = setInterval(() => document.hidden || this.read(), EVERY_MS);
    this.read();
  }

  async read() {
    try {
      const [metrics, { collections }, ready, watches, alerts] = await Promise.all([
        api.call("/metrics").then((answer) => answer.text()),
        api.catalogue(),
        fetch("/readyz").then((answer) => answer.json()),
        api.watches(this.collection()),
        api.alerts(this.collection()),
      ]);
      this.samples.push({ at: performance.now(), ...parse(metrics) });
      this.samples.splice(0, this.samples.length - WINDOW);
      Object.assign(this, { ready, collections, watches, alerts, problem: null });
    } catch (problem) {
      this.problem = problem;
    }
    this.draw();
  }

  draw() {
    if (byId("status").hidden) return;
    const able = !this.problem && this.ready?.ready;
    const reasons = Object.values(this.ready?.checks ?? {}).filter((check) => check !== "ok");
    byId("readiness").className = able ? "good" : "bad";
    byId("readiness").textContent = able ? t("ready") : [t("notReady"), this.problem?.message ?? reasons.join("; ")].join(": ");
    if (!this.samples.length) return;
    byId("tiles").replaceChildren(...this.tiles());
    byId("stages").replaceChildren(this.stages());
    byId("collections").replaceChildren(...this.table());
    byId("watched").textContent = this.collection();
    byId("watches").replaceChildren(...this.watchTable());
  }

  // Rate of a counter over each pair of samples, newest last.
  rates(pick) {
    return this.samples.slice(1).map((sample, index) => {
      const before = this.samples[index];
      return Math.max(0, pick(sample) - pick(before)) / ((sample.at - before.at) / 1000);
    });
  }

  tiles() {
    const last = this.samples.at(-1);
    const first = this.samples[0];
    const grown = (name) => last.sum(name) - first.sum(name);
    const requests = this.rates((sample) => sample.sum("vitrine_requests_total", apiCall));
    const failures = this.rates((sample) => sample.sum("vitrine_requests_total", (labels) => apiCall(labels) && labels.status >= "500"));
    const lookups = last.sum("vitrine_cache_lookups_total");
    const hits = last.sum("vitrine_cache_lookups_total", (labels) => labels.outcome !== "miss");
    const batches = grown("vitrine_encode_batch_images_count");
    const shown = [
      [t("qps"), number(requests.at(-1) ?? 0), sparkline(requests)],
      [t("errors"), number(failures.at(-1) ?? 0), sparkline(failures)],
      [t("inFlight"), number(last.sum("vitrine_images_in_flight"))],
      [t("batch"), batches ? number(grown("vitrine_encode_batch_images_sum") / batches) : "–"],
      [t("cacheHits"), lookups ? `${number((100 * hits) / lookups)} %` : "–"],
      [t("encoder"), this.collections[0]?.encoder.name ?? "–"],
    ];
    return shown.map(([name, value, chart]) => element("div", { class: "tile" }, element("h3", {}, name), element("p", {}, value), chart));
  }

  stages() {
    const last = this.samples.at(-1);
    const first = this.samples[0];
    const seconds = Math.max(1, (last.at - first.at) / 1000);
    const rows = STAGES.map((stage) => {
      const buckets = last.buckets("vitrine_stage_seconds_bucket", stage, first);
      const count = buckets.at(-1)?.[1] ?? 0;
      return count ? { stage, rate: count / seconds, p50: quantile(buckets, 0.5), p95: quantile(buckets, 0.95) } : null;
    }).filter(Boolean);
    if (!rows.length) return element("p", { class: "quiet" }, t("noTraffic"));
    const slowest = Math.max(...rows.map((row) => row.p95));
    const body = rows.map(({ stage, rate, p50, p95 }) => {
      const bar = element("span", { class: "range-bar" });
      bar.style.setProperty("--p50", p50 / slowest);
      bar.style.setProperty("--p95", p95 / slowest);
      return element("tr", {}, element("th", { scope: "row" }, t(stage === "search" ? "search_stage" : stage)), element("td", {}, ms(p50)), element("td", {}, ms(p95)), element("td", { class: "wide" }, bar), element("td", {}, number(rate)));
    });
    const head = element("tr", {}, element("th", { scope: "col" }, t("stage")), element("th", { scope: "col" }, t("p50")), element("th", { scope: "col" }, t("p95")), element("td", {}), element("th", { scope: "col" }, t("rate")));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, body));
  }

  watchTable() {
    if (!this.watches.length) return [element("tbody", {}, element("tr", {}, element("td", {}, t("noWatches"))))];
    const row = (one) => {
      const fired = this.alerts.filter((alert) => alert.watch === one.id);
      const stop = () => api.unwatch(this.collection(), one.id).then(() => this.read(), (problem) => Object.assign(this, { problem }));
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, one.id),
        element("td", {}, `≥ ${one.min_score.toFixed(2)}`),
        element("td", {}, one.created.slice(0, 16).replace("T", " ")),
        element("td", {}, String(fired.length), " ", element("small", {}, fired.slice(-3).map((alert) => alert.item).join(", "))),
        element("td", {}, element("button", { type: "button", "aria-label": t("unwatch", { id: one.id }), onclick: stop }, icon("close"))),
      );
    };
    const head = ["name", "score", "created", "alerts"].map(column);
    return [element("thead", {}, element("tr", {}, head, element("td", {}))), element("tbody", {}, this.watches.map(row))];
  }

  table() {
    const row = (one) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, one.name),
        element("td", {}, number(one.count)),
        element("td", {}, element("strong", {}, String(one.index.family ?? one.index.setting)), " ", element("small", {}, String(one.index.why ?? one.index.reason ?? ""))),
        element("td", {}, one.snapshot),
        element("td", {}, t(one.read_only ? "readOnly" : "open_")),
      );
    return [element("thead", {}, element("tr", {}, ["name", "items", "index", "snapshot", "writable"].map(column))), element("tbody", {}, this.collections.map(row))];
  }
}

// What this page asks for by itself is not traffic.
const OWN = new Set(["/metrics", "/readyz", "/healthz", "/v1/collections", "/web/{name}", "/"]);
for (const own of ["watches", "alerts"]) OWN.add(`/v1/collections/{collection}/${own}`);
const apiCall = (labels) => !OWN.has(labels.route);

const column = (name) => element("th", { scope: "col" }, t(name));
const ms = (seconds) => `${number(seconds * 1000)} ms`;

// Prometheus text exposition format 0.0.4 → sums and buckets by name.
function parse(text) {
  const values = new Map();
  for (const [, name, labels, value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    const found = Object.fromEntries([...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, one]) => [key, one]));
    if (!values.has(name)) values.set(name, []);
    values.get(name).push([found, Number(value)]);
  }
  return {
    sum: (name, wanted = () => true) => (values.get(name) ?? []).reduce((sum, [labels, value]) => sum + (wanted(labels) ? value : 0), 0),
    cumulative: (name, stage) => (values.get(name) ?? []).filter(([labels]) => labels.stage === stage).map(([labels, value]) => [labels.le === "+Inf" ? Infinity : Number(labels.le), value]),
    // [upper bound in seconds, observations up to it] since an earlier sample; all of them if none is new
    buckets(name, stage, earlier) {
      const now = this.cumulative(name, stage);
      const before = earlier.cumulative(name, stage);
      const grown = now.map(([bound, value], index) => [bound, value - (before[index]?.[1] ?? 0)]);
      return grown.at(-1)?.[1] > 0 ? grown : [];
    },
  };
}

// As Prometheus' histogram_quantile: linear within the bucket.
function quantile(buckets, share) {
  const wanted = share * buckets.at(-1)[1];
  let [low, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= wanted) return bound === Infinity ? low : low + ((bound - low) * (wanted - below)) / Math.max(1, count - below);
    [low, below] = [bound, count];
  }
  return low;
}

function sparkline(values) {
  const top = Math.max(1, ...values);
  const points = values.map((value, index) => `${(index * 100) / (WINDOW - 2)},${30 - (28 * value) / top}`);
  return svg("svg", { class: "spark", viewBox: "0 0 100 32", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("polyline", { points: points.join(" ") }));
}
