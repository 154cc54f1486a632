// Buttons that save a report: the server makes it, the browser keeps it.

import { element } from "./dom.js";
import { t } from "./i18n.js";

const FORMATS = ["pdf", "csv", "json"];

// make: format → Promise of a Blob. name: of the file, without its end.
export function reportButtons(name, make) {
  const told = element("span", { role: "status" });
  const save = async (format) => {
    told.textContent = t("writing");
    try {
      const address = URL.createObjectURL(await make(format));
      element("a", { href: address, download: `${name}.${format}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
      told.textContent = "";
    } catch (problem) {
      told.textContent = [problem.message, problem.accepted].filter(Boolean).join(" — ");
    }
  };
  const button = (format) => element("button", { type: "button", onclick: () => save(format) }, format.toUpperCase());
  return element("div", { class: "report", role: "group", "aria-label": t("report") }, t("report"), FORMATS.map(button), told);
}
