// The page: one state, one search at a time, the parts that show it.

import * as api from "./api.js";
import { byId, element, icon } from "./dom.js";
import { Facets } from "./facets.js";
import { choose, language, number, t, translate } from "./i18n.js";
import { reportButtons } from "./reports.js";
import { Results } from "./results.js";
import { StatusPage } from "./status.js";
import { Viewer } from "./viewer.js";

const PAGE = 48;
const emptyQuery = () => ({ images: [], text: "", item: "", likes: new Set(), dislikes: new Set() });

const state = { collections: [], collection: "default", query: emptyQuery(), hits: [], done: true, searching: null };

const facets = new Facets(byId("facets"), () => restart());
const viewer = new Viewer(byId("viewer"), {
  source: () => source(),
  hits: () => state.hits,
  collection: () => state.collection,
});
const results = new Results(byId("grid"), {
  collection: () => state.collection,
  query: () => state.query,
  open: (index) => viewer.open(index),
  more: (id) => go(id),
  judge: (id, kind) => judge(id, kind),
});
const status = new StatusPage(() => state.collection);

// What the query is, for a comparison: null for a text.
function source() {
  const { images, item } = state.query;
  if (images.length) return { file: images[0] };
  return item ? { id: item } : null;
}

const isEmpty = (query) => !query.images.length && !query.text && !query.item;

function options() {
  return {
    k: PAGE,
    offset: state.hits.length,
    filter: facets.filter(),
    group_by: byId("one-per-group").checked ? "group" : undefined,
  };
}

async function restart() {
  state.searching?.abort();
  state.searching = null;
  state.hits = [];
  state.done = isEmpty(state.query);
  showQuery();
  if (state.done) {
    results.clear();
    byId("summary").textContent = "";
    byId("welcome").hidden = false;
    return;
  }
  await nextPage();
}

async function nextPage() {
  if (state.done || state.searching) return;
  const running = (state.searching = new AbortController());
  const first = state.hits.length === 0;
  if (first) byId("summary").textContent = t("searching");
  const asked = options();
  try {
    const began = performance.now();
    const answer = await api.search(state.collection, state.query, asked, running.signal);
    const elapsed = performance.now() - began;
    if (state.searching !== running) return;
    byId("welcome").hidden = true;
    if (first) results.clear();
    state.hits.push(...answer.hits);
    state.done = answer.hits.length < asked.k;
    summarise(elapsed);
    if (first && answer.hits.length) byId("watch-score").value = Math.max(0, answer.hits[0].score - 0.1).toFixed(2);
    await results.append(answer.hits);
    if (state.searching === running) facets.learn(answer.hits, first);
  } catch (error) {
    if (state.searching !== running || error.name === "AbortError") return;
    // "k": the end of what this server gives for one query
    state.done = true;
    if (first || error.field !== "k") report(error);
  } finally {
    if (state.searching === running) {
      state.searching = null;
      watchForMore();
    }
  }
}

// Copies take the place of the hits until the next search.
async function findCopies() {
  state.searching?.abort();
  const running = (state.searching = new AbortController());
  byId("summary").textContent = t("searching");
  try {
    const answer = await api.copies(state.collection, state.query, running.signal);
    if (state.searching !== running) return;
    state.hits = answer.copies;
    state.done = true;
    results.clear();
    const sure = answer.copies.filter((one) => one.copy).length;
    byId("summary").textContent = t("copiesFound", { n: number(sure), threshold: answer.threshold.toFixed(2) });
    await results.append(answer.copies);
  } catch (error) {
    if (state.searching === running && error.name !== "AbortError") report(error);
  } finally {
    if (state.searching === running) state.searching = null;
  }
}

function makeReport(format) {
  const { offset, ...asked } = options();
  return api.report(state.collection, state.query, { ...asked, k: 20 }, format);
}

function summarise(elapsed) {
  const count = state.hits.length;
  const found = count ? t(state.done ? "found" : "foundMore", { n: number(count) }) : t("nothing");
  byId("summary").replaceChildren(found, element("span", {}, ` · ${t("took", { ms: Math.round(elapsed) })}`));
}

async function watch(event) {
  event.preventDefault();
  const min_score = Number(byId("watch-score").value);
  try {
    const made = await api.watch(state.collection, state.query, { filter: facets.filter(), min_score });
    byId("summary").textContent = t("watching", { id: made.id });
  } catch (problem) {
    report(problem);
  }
}

function report(problem) {
  byId("summary").replaceChildren(
    element(
      "span",
      { class: "problem", role: "alert" },
      [problem.message, problem.accepted].filter(Boolean).join(" — "),
      " ",
      element("button", { type: "button", onclick: () => restart() }, t("retry")),
    ),
  );
  if (problem.status === 401) byId("key-panel").showPopover();
}

// Infinite scroll: the mark below the grid asks for the next page when it comes near.
const near = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && nextPage(), {
  rootMargin: "800px",
});

function watchForMore() {
  near.unobserve(byId("more"));
  if (!state.done) near.observe(byId("more"));
}

function judge(id, kind) {
  const { likes, dislikes } = state.query;
  const [chosen, other] = kind === "like" ? [likes, dislikes] : [dislikes, likes];
  other.delete(id);
  if (!chosen.delete(id)) chosen.add(id);
  restart();
}

function addImages(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return;
  const before = state.query.images;
  state.query = { ...emptyQuery(), images: [...before, ...images] };
  byId("text").value = "";
  if (!["", "#/"].includes(location.hash)) history.pushState(null, "", "#/");
  showView();
  restart();
}

function showQuery() {
  const { images, item, likes, dislikes } = state.query;
  const shown = images.map((file, index) => {
    const picture = element("img", { alt: t("view", { n: index + 1 }) });
    picture.src = URL.createObjectURL(file);
    picture.onload = () => URL.revokeObjectURL(picture.src);
    const remove = () => {
      state.query.images.splice(index, 1);
      restart();
    };
    return view(picture, t("remove", { n: index + 1 }), remove);
  });
  if (item) {
    const picture = element("img", { alt: item });
    results.show(picture, item);
    shown.push(view(picture, t("remove", { n: 1 }), () => go("")));
  }
  byId("views").replaceChildren(...shown);
  byId("drop").classList.toggle("filled", shown.length > 0);
  byId("pick").querySelector("span").textContent = t(images.length ? "dropMore" : "drop");
  byId("watch").hidden = isEmpty(state.query);
  byId("copies").hidden = images.length !== 1 && !item;
  byId("report").replaceChildren(...(isEmpty(state.query) ? [] : [reportButtons("search-report", makeReport)]));
  byId("judged").hidden = !likes.size && !dislikes.size;
  byId("judged-count").textContent = t("judged", { likes: likes.size, dislikes: dislikes.size });
}

const view = (picture, label, remove) =>
  element("li", {}, picture, element("button", { type: "button", "aria-label": label, onclick: remove }, icon("close")));

// Addresses: #/ (search), #/like/<collection>/<id>, #/status
function go(id) {
  location.hash = id ? `#/like/${encodeURIComponent(state.collection)}/${encodeURIComponent(id)}` : "#/";
}

function showView() {
  const onStatus = location.hash === "#/status";
  byId("search").hidden = onStatus;
  byId("status").hidden = !onStatus;
  byId("to-search").toggleAttribute("aria-current", !onStatus);
  byId("to-status").toggleAttribute("aria-current", onStatus);
  status.run(onStatus);
}

function follow() {
  showView();
  const [, , collection, id] = location.hash.split("/").map(decodeURIComponent);
  if (location.hash.startsWith("#/like/") && id) {
    if (collection !== state.collection) choose_collection(collection);
    state.query = { ...emptyQuery(), item: id };
    scrollTo({ top: 0 });
    restart();
  } else if (state.query.item && location.hash !== "#/status") {
    state.query = emptyQuery();
    restart();
  }
}

function choose_collection(name) {
  state.collection = name;
  byId("collection").value = name;
  facets.reset(state.collections.find((one) => one.name === name)?.fields ?? {});
}

async function start() {
  try {
    const catalogue = await api.catalogue();
    state.collections = catalogue.collections;
    byId("text-form").hidden = !catalogue.text_queries;
  } catch (problem) {
    report(problem);
    return;
  }
  const names = state.collections.map((one) => one.name);
  const shown = state.collections.map((one) => element("option", { value: one.name }, `${one.name} (${number(one.count)})`));
  byId("collection").replaceChildren(...shown);
  choose_collection(names.includes(state.collection) ? state.collection : names[0]);
  follow();
}

function label() {
  translate();
  byId("language").textContent = language() === "en" ? "中文" : "English";
  byId("language").lang = language() === "en" ? "zh" : "en";
  facets.draw();
  showQuery();
  status.draw();
  viewer.draw();
}

byId("files").addEventListener("change", (event) => {
  addImages(event.target.files);
  event.target.value = "";
});
byId("text-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.query = { ...emptyQuery(), text: byId("text").value.trim() };
  restart();
});
byId("watch").addEventListener("submit", watch);
byId("copies").addEventListener("click", findCopies);
byId("one-per-group").addEventListener("change", restart);
byId("filters-clear").addEventListener("click", () => facets.clear());
byId("judged-clear").addEventListener("click", () => {
  state.query.likes.clear();
  state.query.dislikes.clear();
  restart();
});
byId("collection").addEventListener("change", (event) => {
  choose_collection(event.target.value);
  state.query.likes.clear();
  state.query.dislikes.clear();
  if (state.query.item) go("");
  else restart();
});
byId("language").addEventListener("click", () => {
  choose(language() === "en" ? "zh" : "en");
  label();
  results.relabel();
});
byId("key-panel").addEventListener("submit", (event) => {
  event.preventDefault();
  api.key.set(byId("key").value.trim());
  byId("key-panel").hidePopover();
  start();
});
byId("key").value = api.key.get();

addEventListener("hashchange", follow);
addEventListener("paste", (event) => addImages(event.clipboardData?.files ?? []));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  addImages(event.dataTransfer.files);
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select, dialog")) {
    event.preventDefault();
    (byId("text-form").hidden ? byId("files") : byId("text")).focus();
  }
});

byId("filters").open = matchMedia("(min-width: 900px)").matches;
label();
start();
