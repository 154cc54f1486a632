// The page's two languages. Elements name their text in data-i18n, data-i18n-label, …-placeholder.

const EN = {
  skip: "Skip to results", pages: "Pages", search: "Search", status: "Status",
  collection: "Collection", key: "API key", use: "Use",
  keyHint: "Kept in this tab alone, and sent with every call.",
  query: "Query", results: "Results",
  drop: "Drop, paste or choose an image", dropMore: "Add a view",
  dropHint: "Several images are views of one design",
  textLabel: "Or describe it", onePerGroup: "One hit per design", filters: "Filters",
  clear: "Clear", clearFilters: "Clear filters", from: "from", to: "to", any: "any", yes: "yes", no: "no",
  another: "Another value", add: "Add",
  welcome: "Show it a picture.",
  welcomeText: "Vitrine finds what looks alike, and shows why. Images stay on this server.",
  searching: "Searching…", found: "{n} results", foundMore: "{n} results, more below", nothing: "Nothing found.",
  took: "{ms} ms", judged: "{likes} liked, {dislikes} disliked",
  view: "View {n}", remove: "Remove view {n}", likeItem: "Like {id}", dislikeItem: "Dislike {id}",
  moreLike: "More like {id}", open: "Compare with {id}, score {score}",
  moreLikeThis: "More like this", like: "Like", dislike: "Dislike",
  noImage: "No image stored", score: "Score", yourQuery: "Your query", close: "Close", previous: "Previous hit", next: "Next hit",
  show: "Show", heat: "Heat map", matches: "Matches", difference: "Difference", plain: "Pictures",
  explaining: "Measuring why they match…", noQueryImage: "A text query has no picture to compare with.",
  verdict: "Evidence for a person to judge, not a verdict.",
  heatText: "Warm patches carry the score: it falls when they are blanked. Cool patches speak against it.",
  checkText: "Blanking the warmest fifth lowers the score of {score} by {top}; a random fifth lowers it by {random}.",
  matchText: "{n} pairs of regions that are each other's nearest, best first.",
  agreement: "{n} % of the lines lie on each other after alignment.",
  pose: "The hit was turned by {degrees}°, scaled ×{scale}{mirrored} to fit.",
  mirrored: " and mirrored",
  both: "both", onlyQuery: "query alone", onlyHit: "hit alone", metadata: "Metadata", group: "group",
  ready: "Ready", notReady: "Not ready", qps: "Requests / s", encoder: "Encoder", cacheHits: "Cache hits",
  inFlight: "Images in flight", batch: "Mean batch", errors: "Errors / s", p50: "median", p95: "95 %",
  stages: "Stage latency, last minute", collections: "Collections", stage: "Stage", rate: "per second", noTraffic: "No traffic yet.",
  decode: "decode", queue: "queue", encode: "encode", hydrate: "read records", store: "store", search_stage: "search",
  name: "Name", items: "Items", index: "Index", snapshot: "Snapshot", writable: "Writes", readOnly: "read only", open_: "open",
  retry: "Try again", watch: "Watch", watchFrom: "Watch for new items from score",
  watching: "Watching as {id}.", watches: "Watches", noWatches: "None. A search can be watched from its query.",
  alerts: "Alerts", created: "Created", unwatch: "Stop watching {id}", judge: "Is this hit right?", right: "Right", wrong: "Wrong",
  judged_: "Stored.", report: "Report", writing: "Writing…", findCopies: "Find copies",
  copiesFound: "Copies: {n}. A copy scores {threshold} or more; what comes next is shown as well.",
  isCopy: "Copy", noCopy: "No copy", hashBits: "hash: {n} of 64 bits differ, {orientation}",
  cosine: "embedding: {n}", alignedPoints: "{n} aligned points",
};

const ZH = {
  skip: "跳到结果", pages: "页面", search: "搜索", status: "状态",
  collection: "图库", key: "API 密钥", use: "使用",
  keyHint: "只保存在此标签页，并随每次请求发送。",
  query: "查询", results: "结果",
  drop: "拖入、粘贴或选择图片", dropMore: "添加视图",
  dropHint: "多张图片视为同一设计的多个视图",
  textLabel: "或用文字描述", onePerGroup: "每个设计只显示一条", filters: "筛选",
  clear: "清除", clearFilters: "清除筛选", from: "从", to: "到", any: "不限", yes: "是", no: "否",
  another: "其他值", add: "添加",
  welcome: "给它一张图片。",
  welcomeText: "Vitrine 找出相似的图像，并说明原因。图片不会离开本服务器。",
  searching: "正在搜索…", found: "{n} 条结果", foundMore: "{n} 条结果，向下滚动查看更多", nothing: "没有找到结果。",
  took: "{ms} 毫秒", judged: "喜欢 {likes}，不喜欢 {dislikes}",
  view: "视图 {n}", remove: "移除视图 {n}", likeItem: "喜欢 {id}", dislikeItem: "不喜欢 {id}",
  moreLike: "查找与 {id} 相似的", open: "与 {id} 比较，得分 {score}",
  moreLikeThis: "更多类似", like: "喜欢", dislike: "不喜欢",
  noImage: "未存储图片", score: "得分", yourQuery: "您的查询", close: "关闭", previous: "上一条", next: "下一条",
  show: "显示", heat: "热图", matches: "匹配", difference: "差异", plain: "原图",
  explaining: "正在测量相似的原因…", noQueryImage: "文字查询没有可比较的图片。",
  verdict: "供人判断的证据，而非结论。",
  heatText: "暖色区域支撑得分：遮住后得分下降。冷色区域则相反。",
  checkText: "遮住最暖的五分之一，得分 {score} 下降 {top}；随机遮住五分之一，下降 {random}。",
  matchText: "{n} 对互为最近的区域，最佳在前。",
  agreement: "对齐后 {n} % 的线条重合。",
  pose: "命中图旋转 {degrees}°、缩放 ×{scale}{mirrored}后对齐。",
  mirrored: "并镜像",
  both: "两者", onlyQuery: "仅查询", onlyHit: "仅命中", metadata: "元数据", group: "组",
  ready: "就绪", notReady: "未就绪", qps: "请求 / 秒", encoder: "编码器", cacheHits: "缓存命中",
  inFlight: "处理中的图片", batch: "平均批量", errors: "错误 / 秒", p50: "中位数", p95: "95 %",
  stages: "各阶段延迟（最近一分钟）", collections: "图库", stage: "阶段", rate: "每秒", noTraffic: "暂无流量。",
  decode: "解码", queue: "排队", encode: "编码", hydrate: "读取记录", store: "存储", search_stage: "检索",
  name: "名称", items: "条目", index: "索引", snapshot: "快照", writable: "写入", readOnly: "只读", open_: "可写",
  retry: "重试", watch: "监视", watchFrom: "监视得分不低于此值的新条目",
  watching: "已监视，编号 {id}。", watches: "监视", noWatches: "暂无。可在查询处监视一次搜索。",
  alerts: "提醒", created: "创建时间", unwatch: "停止监视 {id}", judge: "这条结果正确吗？", right: "正确", wrong: "错误",
  judged_: "已保存。", report: "报告", writing: "正在生成…", findCopies: "查找副本",
  copiesFound: "副本：{n} 个。得分不低于 {threshold} 为副本；其后的结果也一并显示。",
  isCopy: "副本", noCopy: "非副本", hashBits: "哈希：64 位中 {n} 位不同，{orientation}",
  cosine: "嵌入：{n}", alignedPoints: "{n} 个对齐点",
};

const LANGUAGES = { en: EN, zh: ZH };
const CHOICE = "vitrine.language";

const preferred = () => localStorage.getItem(CHOICE) ?? (navigator.language.startsWith("zh") ? "zh" : "en");
let current = LANGUAGES[preferred()] ? preferred() : "en";

export const language = () => current;

export function t(name, values = {}) {
  const text = LANGUAGES[current][name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, value) => values[value] ?? "");
}

export const number = (value) => new Intl.NumberFormat(current, { maximumFractionDigits: 1 }).format(value);

export function choose(name) {
  current = name;
  localStorage.setItem(CHOICE, name);
  translate();
}

export function translate() {
  document.documentElement.lang = current === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-i18n]")) one.textContent = t(one.dataset.i18n);
  for (const one of document.querySelectorAll("[data-i18n-label]")) one.setAttribute("aria-label", t(one.dataset.i18nLabel));
  for (const one of document.querySelectorAll("[data-i18n-placeholder]")) one.placeholder = t(one.dataset.i18nPlaceholder);
}
