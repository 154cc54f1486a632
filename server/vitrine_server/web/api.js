// Calls of Vitrine's HTTP API. Errors are problem+json (RFC 9457).

const KEY = "vitrine.key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? "unknown";
    this.field = body.field;
    this.accepted = body.accepted;
  }
}

export async function call(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, { method, body, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { code: "network", detail: "The server does not answer." });
  }
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => ({})));
}

export const json = async (path, options) => (await call(path, options)).json();

const collectionPath = (name) => `/v1/collections/${encodeURIComponent(name)}`;
const itemPath = (collection, id) => `${collectionPath(collection)}/items/${encodeURIComponent(id)}`;

// { collections, text_queries }
export const catalogue = () => json("/v1/collections");
export const item = (collection, id) => json(itemPath(collection, id));
export const compare = (a, b, signal) => json("/v1/compare", { method: "POST", body: { a, b }, signal });

// Where an item's thumbnail can be shown from. An <img> sends no header, so with a key it is fetched.
export async function thumbnail(collection, id) {
  const path = `${itemPath(collection, id)}/image`;
  return key.get() ? URL.createObjectURL(await (await call(path)).blob()) : path;
}

const encoded = new WeakMap();

// The bytes of a file as a data: URI, read once.
export function base64(file) {
  if (!encoded.has(file)) {
    encoded.set(
      file,
      new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(`data:;base64,${reader.result.split(",")[1] ?? ""}`);
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(file);
      }),
    );
  }
  return encoded.get(file);
}

const LIKED = 1;
const DISLIKED = -0.3;

// The parts of a query, as `queries` takes them.
async function parts(query) {
  const queries = [];
  for (const image of query.images) queries.push({ image: await base64(image) });
  if (query.text) queries.push({ text: query.text });
  if (query.item) queries.push({ item_id: query.item });
  for (const id of query.likes) queries.push({ item_id: id, weight: LIKED });
  for (const id of query.dislikes) queries.push({ item_id: id, weight: DISLIKED });
  return queries;
}

// query: { images: [File], text, item, likes: Set, dislikes: Set }
export async function search(collection, query, options, signal) {
  const path = `${collectionPath(collection)}/search`;
  const judged = query.likes.size + query.dislikes.size;
  if (query.images.length === 1 && !query.text && !query.item && !judged) {
    const asked = new URLSearchParams();
    for (const [name, value] of Object.entries(options)) {
      if (value !== undefined) asked.set(name, typeof value === "object" ? JSON.stringify(value) : value);
    }
    return json(`${path}?${asked}`, { method: "POST", body: query.images[0], signal });
  }
  return json(path, { method: "POST", body: { queries: await parts(query), ...options }, signal });
}

// What may be copies, those below the threshold too. query: one image or one item.
export async function copies(collection, { images, item }, signal) {
  const path = `${collectionPath(collection)}/copies`;
  const asked = { k: 24, min_score: 0 };
  const body = item ? { item_id: item, ...asked } : images[0];
  return json(item ? path : `${path}?${new URLSearchParams(asked)}`, { method: "POST", body, signal });
}

// A document as a Blob. format: "pdf", "csv" or "json".
export async function report(collection, query, options, format) {
  const body = { queries: await parts(query), ...options, format };
  return (await call(`${collectionPath(collection)}/reports`, { method: "POST", body })).blob();
}

export const compareReport = async (a, b, format) =>
  (await call("/v1/compare/reports", { method: "POST", body: { a, b, format } })).blob();

export const watches = async (collection) => (await json(`${collectionPath(collection)}/watches`)).watches;
export const alerts = async (collection) => (await json(`${collectionPath(collection)}/alerts?limit=1000`)).alerts;

export async function watch(collection, query, { filter, min_score }) {
  const body = { queries: await parts(query), filter, min_score };
  return json(`${collectionPath(collection)}/watches`, { method: "POST", body });
}

export const unwatch = (collection, id) =>
  call(`${collectionPath(collection)}/watches/${encodeURIComponent(id)}`, { method: "DELETE" });

// Feedback names an image by its hash; browsers offer hashing to pages of localhost and https alone.
export const canJudge = (source) => Boolean(source && (source.id || globalThis.crypto?.subtle));

export async function judge(collection, { file, id }, hit) {
  const query = id ?? `sha256:${hex(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()))}`;
  return json(`${collectionPath(collection)}/feedback`, { method: "POST", body: { query, ...hit } });
}

const hex = (bytes) => [...new Uint8Array(bytes)].map((one) => one.toString(16).padStart(2, "0")).join("");
